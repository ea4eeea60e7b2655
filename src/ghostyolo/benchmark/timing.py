"""Turn the times of calls into figures. Milliseconds of one call: a batch of pictures through the detector."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BURST = 3  # timed calls of one model before the next one's turn: few, so that a round is short


@dataclass(frozen=True)
class Call:
    """Milliseconds of the three steps of one call: before the network, the network, after it."""

    preprocess: float
    inference: float
    postprocess: float

    @property
    def total(self) -> float:
        """Picture in, boxes out."""
        return self.preprocess + self.inference + self.postprocess


@dataclass(frozen=True)
class Timing:
    """What many calls took, in milliseconds a call.

    Attributes:
        median_ms, p95_ms: the network alone: median, and what 95 of 100 calls stay under.
        preprocess_ms, postprocess_ms: medians of letterbox and scaling, of threshold, NMS and mapping boxes back.
        total_ms, total_p95_ms: the three together, picture in, boxes out.
        images_per_second: pictures at the median of the three together.
        batch: pictures in a call.
        runs: timed calls.
    """

    median_ms: float
    p95_ms: float
    preprocess_ms: float
    postprocess_ms: float
    total_ms: float
    total_p95_ms: float
    images_per_second: float
    batch: int
    runs: int


def summarise(calls: Sequence[Call], batch: int) -> Timing:
    """Medians and 95th percentiles (linear between neighbours) of at least one call."""
    inference = [call.inference for call in calls]
    totals = [call.total for call in calls]
    total = statistics.median(totals)
    return Timing(
        median_ms=statistics.median(inference),
        p95_ms=float(np.percentile(inference, 95)),
        preprocess_ms=statistics.median(call.preprocess for call in calls),
        postprocess_ms=statistics.median(call.postprocess for call in calls),
        total_ms=total,
        total_p95_ms=float(np.percentile(totals, 95)),
        images_per_second=1000 * batch / total,
        batch=batch,
        runs=len(calls),
    )


def paired_ratio(bursts: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> float:
    """How many times as long as the reference: median over the rounds of the two bursts' medians in the same round.

    What else the machine does slows both of a round, so that their ratio is steadier than the times.
    """
    return statistics.median(
        statistics.median(mine) / statistics.median(theirs) for mine, theirs in zip(bursts, reference, strict=True)
    )


def burst_sizes(runs: int) -> list[int]:
    """Timed calls of each round: as few rounds of at most BURST calls as give ``runs``, even in size."""
    rounds = -(-runs // BURST)
    return [runs // rounds + (number < runs % rounds) for number in range(rounds)]


def turns(count: int, number: int) -> list[int]:
    """The order of ``count`` models in round ``number``: each goes first, second, ... equally often."""
    return [(number + position) % count for position in range(count)]

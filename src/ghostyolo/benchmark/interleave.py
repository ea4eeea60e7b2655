"""Times several models in turns: short bursts, round after round.

So all meet the same machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ghostyolo.runtime.timing import Call

BURST = 3  # timed calls of one model before the next one's turn: few, so that a round is short


class Runner(Protocol):
    """What can run calls; :class:`ghostyolo.benchmark.worker_process.Process` does."""

    def calls(self, count: int) -> tuple[list[Call], float | None]:
        """Run so many calls; return the times of each.

        The joules of all come with them where they can be counted.
        """
        ...


@dataclass
class Measured:
    """What one model took.

    Attributes:
        bursts: the timed calls of each round.
        joules: of all timed calls; None where they cannot be counted.
    """

    bursts: list[list[Call]] = field(default_factory=list)
    joules: float | None = 0.0

    @property
    def calls(self) -> list[Call]:
        """All timed calls."""
        return [call for burst in self.bursts for call in burst]


def interleave(
    runners: Sequence[Runner], runs: int, warmup: int, progress: Callable[[int], None] | None = None
) -> list[Measured]:
    """Run each model ``runs`` times, in turns, and time the calls.

    A call before each burst is not timed: the others have filled the caches in between, which a model that runs alone
    does not meet.

    Args:
        runners: the models.
        runs: timed calls of each.
        warmup: untimed calls of each at the start.
        progress: told the number of finished timed calls, all models together.
    """
    measured = [Measured() for _ in runners]
    if warmup:
        for runner in runners:
            runner.calls(warmup)
    done = 0
    for number, size in enumerate(burst_sizes(runs)):
        for position in turns(len(runners), number):
            if len(runners) > 1:
                runners[position].calls(1)
            calls, joules = runners[position].calls(size)
            mine = measured[position]
            mine.bursts.append(calls)
            mine.joules = None if joules is None or mine.joules is None else mine.joules + joules
            done += size
            if progress is not None:
                progress(done)
    return measured


def paired_ratio(bursts: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> float:
    """Return how many times as long as the reference a model takes.

    It is the median, over the rounds, of the ratio of the two bursts' medians in a round. What else the machine does
    slows both of a round, so that their ratio is steadier than the times.
    """
    return statistics.median(
        statistics.median(mine) / statistics.median(theirs) for mine, theirs in zip(bursts, reference, strict=True)
    )


def burst_sizes(runs: int) -> list[int]:
    """Return the timed calls of each round.

    There are as few rounds of at most BURST calls as give ``runs``, even in size.
    """
    rounds = -(-runs // BURST)
    return [runs // rounds + (number < runs % rounds) for number in range(rounds)]


def turns(count: int, number: int) -> list[int]:
    """Return the order of ``count`` models in round ``number``.

    Each goes first, second, ... equally often.
    """
    return [(number + position) % count for position in range(count)]

"""Differences between runs of the same seeds: mean, interval, p-value, and a verdict. No torch.

Sources: Student's t for paired samples; S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian
Journal of Statistics 6 (1979), pages 65 to 70.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LEVEL = 0.05  # of two-sided tests; intervals hold 1 - LEVEL

Verdict = Literal["helps", "hurts", "no difference shown", "one seed: nothing can be said"]


@dataclass(frozen=True)
class Difference:
    """Of a cell to the base over the seeds that both have.

    Attributes:
        mean: of the paired differences.
        low, high: ends of the 95 % interval; None with one pair.
        p: of "there is no difference", two-sided; None with one pair.
        pairs: how many seeds.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    pairs: int


def paired_difference(values: Sequence[float], base: Sequence[float]) -> Difference:
    """Compare figures of the same seeds, in the same order.

    Raises:
        ValueError: none, or not as many of each.
    """
    from scipy.stats import t

    gaps = [value - other for value, other in zip(values, base, strict=True)]
    if not gaps:
        raise ValueError("no pairs to compare")
    mean, count = statistics.mean(gaps), len(gaps)
    if count == 1:
        return Difference(mean, None, None, None, 1)
    error = statistics.stdev(gaps) / count**0.5
    half = float(t.ppf(1 - LEVEL / 2, count - 1)) * error
    if error == 0:
        p = 1.0 if mean == 0 else 0.0
    else:
        p = float(2 * t.sf(abs(mean) / error, count - 1))
    return Difference(mean, mean - half, mean + half, p, count)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of one family of tests, adjusted so that one compared with a level holds that level for all together."""
    count = len(p_values)
    adjusted, highest = [0.0] * count, 0.0
    for rank, place in enumerate(sorted(range(count), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def verdict(difference: Difference, adjusted_p: float | None) -> Verdict:
    """What may be said of a cell; ``adjusted_p`` is None with one pair."""
    if adjusted_p is None:
        return "one seed: nothing can be said"
    if adjusted_p >= LEVEL:
        return "no difference shown"
    return "helps" if difference.mean > 0 else "hurts"

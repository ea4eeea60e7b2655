"""Differences of cells to a base: estimate, interval, p-value, verdict. No torch.

The model is that of randomised blocks, a score = its cell + its seed + noise: a seed has the same order and
augmentation in all cells, and lifts or lowers them alike. The strength of the noise is estimated from all cells of a
network together, which with three seeds is the difference between 2 degrees of freedom and 2 for each cell: an
interval a third as wide. It takes the noise of all cells as equal. With two cells it is the paired t-test.

Sources: R. A. Fisher, The Design of Experiments (1935), chapter 4; S. Holm, A simple sequentially rejective multiple
test procedure, Scandinavian Journal of Statistics 6 (1979), pages 65 to 70.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

LEVEL = 0.05  # of two-sided tests; intervals hold 1 - LEVEL

Verdict = Literal["helps", "hurts", "no difference shown", "one seed: nothing can be said"]


@dataclass(frozen=True)
class Difference:
    """Of a cell to the base.

    Attributes:
        mean: the estimate; where all cells have all seeds, the mean of the differences of the same seeds.
        low, high: ends of the 95 % interval; None where nothing tells the noise, as with one seed.
        p: of "there is no difference", two-sided; None likewise.
        pairs: seeds that both have.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    pairs: int


def differences_to_base(scores: Mapping[str, Mapping[int, float]], base: str) -> dict[str, Difference]:
    """Compare the cells of one network with its base, by least squares.

    Args:
        scores: cell -> seed -> score.
        base: the cell that the others are compared with.

    Returns:
        A difference for each other cell that has a seed in common with the base.
    """
    compared = [cell for cell in scores if cell != base and set(scores[cell]) & set(scores.get(base, {}))]
    if not compared:
        return {}
    cells = [base, *compared]
    seeds = sorted({seed for cell in cells for seed in scores[cell]})
    runs = [(cells.index(cell), seeds.index(seed), scores[cell][seed]) for cell in cells for seed in scores[cell]]
    design = np.zeros((len(runs), len(cells) + len(seeds)))
    for row, (which_cell, which_seed, _) in enumerate(runs):
        design[row, which_cell] = design[row, len(cells) + which_seed] = 1
    values = np.array([value for *_, value in runs])
    inverse = np.linalg.pinv(design.T @ design)
    effects = inverse @ design.T @ values
    freedom = len(runs) - int(np.linalg.matrix_rank(design))
    rest = float(np.square(values - design @ effects).sum())
    found = {}
    for place, cell in enumerate(compared, start=1):
        contrast = np.zeros(design.shape[1])
        contrast[place], contrast[0] = 1, -1
        pairs = len(set(scores[cell]) & set(scores[base]))
        error = (rest / freedom * float(contrast @ inverse @ contrast)) ** 0.5 if freedom else None
        found[cell] = _difference(float(contrast @ effects), error, freedom, pairs)
    return found


def _difference(mean: float, error: float | None, freedom: int, pairs: int) -> Difference:
    from scipy.stats import t

    if error is None:
        return Difference(mean, None, None, None, pairs)
    half = float(t.ppf(1 - LEVEL / 2, freedom)) * error
    return Difference(mean, mean - half, mean + half, float(2 * t.sf(abs(mean) / max(error, 1e-12), freedom)), pairs)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of one family of tests by Holm's rule.

    One that is compared with a level then holds that level for all together.
    """
    count = len(p_values)
    adjusted, highest = [0.0] * count, 0.0
    for rank, place in enumerate(sorted(range(count), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def verdict(difference: Difference, adjusted_p: float | None) -> Verdict:
    """Say what may be said of a cell.

    ``adjusted_p`` is None where nothing tells the noise.
    """
    if adjusted_p is None:
        return "one seed: nothing can be said"
    if adjusted_p >= LEVEL:
        return "no difference shown"
    return "helps" if difference.mean > 0 else "hurts"

"""Accuracy-aware mode: which convolutions must stay in float so that AP falls by no more than is allowed.

Few trials, since each one writes and measures a file: everything in INT8 first; then the well-known layers in float;
then with them the 1, 2, 4, ... most sensitive others, until the drop is small enough; then halving between the last
that was not and the first that was. The fewer stay in float, the smaller the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

FINER = 2  # trials to halve with
FIRST_STEP = 4  # layers beyond the well-known ones, doubled from trial to trial
LARGEST_SHARE = 0.5  # of all layers; beyond that it is no INT8 file


@dataclass(frozen=True)
class Trial:
    """One file that was tried.

    Attributes:
        kept: module paths of the convolutions that stay in float.
        drop: points of 100 that AP falls by; negative where it rises.
    """

    kept: frozenset[str]
    drop: float


def search(
    measure: Callable[[frozenset[str]], float],
    max_drop: float,
    well_known: Sequence[str],
    rank: Callable[[], Sequence[str]],
) -> list[Trial]:
    """Try files until one is good enough; the answer is :func:`choose` of what is returned.

    Args:
        measure: writes a file that keeps these layers in float; returns by how many points AP falls.
        max_drop: points that are allowed.
        well_known: layers that are known to be sensitive, tried first.
        rank: all layers by falling sensitivity; asked only where the well-known ones are not enough.

    Returns:
        The trials in order, at least one.
    """
    trials = [Trial(frozenset(), measure(frozenset()))]
    if trials[0].drop <= max_drop:
        return trials

    def attempt(kept: frozenset[str]) -> bool:
        trials.append(Trial(kept, measure(kept)))
        return trials[-1].drop <= max_drop

    base = frozenset(well_known)
    if base and attempt(base):
        return trials
    ranked = list(rank())
    others = [path for path in ranked if path not in base]
    limit = min(len(others), int(LARGEST_SHARE * len(ranked)) - len(base))
    failed, step = 0, FIRST_STEP
    while failed < limit:
        count = min(step, limit)
        if attempt(base | frozenset(others[:count])):
            _halve(lambda number: attempt(base | frozenset(others[:number])), failed, count)
            return trials
        failed, step = count, step * 2
    return trials


def _halve(attempt: Callable[[int], bool], failed: int, passed: int) -> None:
    for _ in range(FINER):
        middle = (failed + passed) // 2
        if middle in (failed, passed):
            return
        if attempt(middle):
            passed = middle
        else:
            failed = middle


def choose(trials: Sequence[Trial], max_drop: float) -> Trial:
    """The trial that keeps the fewest layers among those good enough; where none is, the one that lost least."""
    good = [trial for trial in trials if trial.drop <= max_drop]
    if good:
        return min(good, key=lambda trial: (len(trial.kept), trial.drop))
    return min(trials, key=lambda trial: trial.drop)

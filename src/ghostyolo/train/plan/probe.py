"""Settles by short trainings what the data do not tell.

Successive halving: all candidates train for a few epochs, the better half for twice as many. The plan itself trains
with two seeds in both rounds: what these differ by is the noise, and a candidate is taken only where it is ahead of
both by more. Short trainings favour what is easy to fit, such as weak augmentation, and two seeds are few, so it is a
hint.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ghostyolo.train.plan.plan import Plan

SHARE = 0.25  # of the run's epochs, at most
LEAST_STEPS = 60  # of a first round; less tells nothing
_LEAST_NOISE = 0.005  # seeds that happen to agree do not make a measurement exact

Train = Callable[[dict[str, Any], int, int], float]
"""AP after a training with changed settings, a seed and a number of epochs."""


@dataclass(frozen=True)
class Trial:
    """A short training: its change (none: the plan), seed, epochs and AP."""

    change: tuple[str, Any] | None
    seed: int
    epochs: int
    AP: float

    def __str__(self) -> str:
        what = f"seed {self.seed}" if self.change is None else f"{self.change[0]}={self.change[1]:g}"
        return f"{what}, {self.epochs} epochs: AP {self.AP:.3f}"


@dataclass
class Verdict:
    """What the trials say.

    Attributes:
        taken: settings that were ahead by more than the noise, with the AP of theirs and of the better seed.
        noise: difference of the two seeds in the last round.
        trials: all of them.
    """

    taken: dict[str, tuple[Any, float, float]] = field(default_factory=dict)
    noise: float = math.nan
    trials: list[Trial] = field(default_factory=list)


def candidates(plan: Plan, peak_lr: float) -> list[tuple[str, Any]]:
    """Return other values of what a fingerprint cannot tell: scales and rate."""
    found: list[tuple[str, Any]] = []
    if not plan.given("augment.scale"):
        scale = plan.choices["augment.scale"].value
        found += [("augment.scale", value) for value in (0.1, 0.5) if abs(value - scale) > 0.1]
    if not plan.given("lr"):
        found += [("lr", round(peak_lr * factor, 6)) for factor in (0.5, 2.0)]
    return found


def first_round(epochs: int, count: int) -> int:
    """Return the epochs of each training of the first round.

    All rounds together take their share of ``epochs``."""
    kept = math.ceil(count / 2)
    return int(SHARE * epochs / ((2 + count) + 2 * (2 + kept)))


def settle(changes: list[tuple[str, Any]], epochs: int, train: Train, tell: Callable[[Trial], None]) -> Verdict:
    """Train candidates beside the plan and take those clearly ahead.

    There are two rounds.

    Args:
        changes: a setting and a value each.
        epochs: of each training of the first round, as :func:`first_round` says.
        train: makes a training.
        tell: told of each training.
    """
    verdict = Verdict()

    def trial(change: tuple[str, Any] | None, seed: int, length: int) -> float:
        score = train(dict([change]) if change is not None else {}, seed, length)
        verdict.trials.append(Trial(change, seed, length, score))
        tell(verdict.trials[-1])
        return score

    kept = list(changes)
    for number in (1, 2):
        length = number * epochs
        plans = [trial(None, seed, length) for seed in (0, 1)]
        scores = {change: trial(change, 0, length) for change in kept}
        verdict.noise = max(abs(plans[0] - plans[1]), _LEAST_NOISE)
        kept = sorted(kept, key=lambda change: -scores[change])[: math.ceil(len(changes) / 2)]
    for change in reversed(kept):  # of two values of one setting the better one is entered last
        if scores[change] > max(plans) + verdict.noise:
            verdict.taken[change[0]] = (change[1], scores[change], max(plans))
    return verdict

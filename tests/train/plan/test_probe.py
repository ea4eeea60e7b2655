"""Successive halving on trainings whose AP is known."""

from __future__ import annotations

from typing import Any

import pytest

from ghostyolo.train.plan.plan import Plan
from ghostyolo.train.plan.probe import SHARE, Trial, candidates, first_round, settle
from ghostyolo.train.recipe import TrainRecipe

CHANGES = [("augment.scale", 0.5), ("lr", 0.002), ("lr", 0.008)]


def verdict(scores: dict[Any, float], noise: float = 0.01, changes=CHANGES):
    told: list[Trial] = []

    def train(change: dict[str, Any], seed: int, epochs: int) -> float:
        (one,) = change.items() or [None]
        return 0.3 + seed * noise if one is None else scores[one]

    return settle(changes, 5, train, told.append), told


def test_a_value_that_is_ahead_by_more_than_the_seeds_differ_is_taken() -> None:
    found, _ = verdict({CHANGES[0]: 0.29, CHANGES[1]: 0.2, CHANGES[2]: 0.33})
    assert found.taken == {"lr": (0.008, 0.33, pytest.approx(0.31))}
    assert found.noise == pytest.approx(0.01)


def test_within_the_noise_the_plan_stays() -> None:
    assert verdict({change: 0.32 for change in CHANGES})[0].taken == {}
    assert verdict({change: 0.33 for change in CHANGES}, noise=0.03)[0].taken == {}


def test_seeds_that_agree_by_chance_do_not_make_it_exact() -> None:
    found, _ = verdict({change: 0.304 for change in CHANGES}, noise=0.0)
    assert (found.taken, found.noise) == ({}, 0.005)


def test_of_two_values_of_a_setting_the_better_is_taken_and_several_settings_together() -> None:
    found, _ = verdict({CHANGES[0]: 0.35, CHANGES[1]: 0.36, CHANGES[2]: 0.2})
    assert {name: value for name, (value, *_) in found.taken.items()} == {"lr": 0.002, "augment.scale": 0.5}
    found, _ = verdict({CHANGES[0]: 0.2, CHANGES[1]: 0.36, CHANGES[2]: 0.37})
    assert {name: value for name, (value, *_) in found.taken.items()} == {"lr": 0.008}


def test_the_worse_half_is_left_out_of_the_second_round() -> None:
    _, told = verdict({CHANGES[0]: 0.35, CHANGES[1]: 0.1, CHANGES[2]: 0.2})
    assert [(trial.change, trial.seed, trial.epochs) for trial in told] == [
        (None, 0, 5), (None, 1, 5), *[(change, 0, 5) for change in CHANGES],
        (None, 0, 10), (None, 1, 10), (CHANGES[0], 0, 10), (CHANGES[2], 0, 10),
    ]  # fmt: skip
    assert str(told[2]) == "augment.scale=0.5, 5 epochs: AP 0.350"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("epochs", [1, 50, 273, 600])
def test_all_rounds_take_their_share_at_most(count, epochs) -> None:
    changes = [("lr", float(number)) for number in range(count)]
    _, told = verdict(dict.fromkeys(changes, 0.1), changes=changes)
    each = first_round(epochs, count)
    assert sum(trial.epochs for trial in told) / 5 * each <= SHARE * epochs


def test_what_is_given_is_not_tried() -> None:
    def of(**given: Any) -> list[tuple[str, Any]]:
        plan = Plan(TrainRecipe.from_dict(given))
        plan.choose("augment.scale", 0.28, "as data are")
        return candidates(plan, 0.004)

    assert of() == [("augment.scale", 0.1), ("augment.scale", 0.5), ("lr", 0.002), ("lr", 0.008)]
    assert of(lr=0.001) == [("augment.scale", 0.1), ("augment.scale", 0.5)]
    assert of(augment={"scale": 0.3}, lr=0.001) == []

"""Learning rate, momentum and accumulation at hand-computed steps."""

from __future__ import annotations

import math

import pytest

from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.schedule import plan_schedule


def plan(steps_per_epoch: int = 10, num_classes: int = 3, world_size: int = 1, from_scratch: bool = True, **changes):
    recipe = TrainRecipe.from_dict({"epochs": 100, **changes})
    return plan_schedule(
        recipe,
        num_classes=num_classes,
        steps_per_epoch=steps_per_epoch,
        world_size=world_size,
        from_scratch=from_scratch,
    )


def test_auto_is_adamw_for_short_runs_with_a_rate_that_falls_with_classes() -> None:
    short = plan(num_classes=3)
    assert (short.optimizer, short.peak_lr, short.momentum, short.warmup_bias_lr) == (
        "adamw",
        0.004286,
        0.9,
        0,
    )
    assert plan(num_classes=80).peak_lr == 0.000357


def test_auto_takes_a_third_of_the_rate_for_trained_weights() -> None:
    assert plan(num_classes=3, from_scratch=False).peak_lr == 0.001429
    assert plan(num_classes=80, from_scratch=False).peak_lr == 0.000119


def test_auto_is_sgd_beyond_ten_thousand_optimizer_steps() -> None:
    # 16 pictures a step accumulate to 64: 400 steps an epoch x 100 / 4 = 10000 optimiser steps, 404 are more.
    assert plan(steps_per_epoch=400).accumulation == 4
    assert plan(steps_per_epoch=400).optimizer == "adamw"
    long = plan(steps_per_epoch=404)
    assert (long.optimizer, long.peak_lr, long.momentum, long.warmup_bias_lr) == ("sgd", 0.01, 0.937, 0.1)


def test_given_rate_is_kept() -> None:
    assert plan(lr=0.003).peak_lr == 0.003
    assert plan(optimizer="sgd").peak_lr == 0.01
    assert plan(optimizer="adamw").peak_lr == 0.001


def test_cosine_falls_from_the_peak_over_its_middle_to_the_final_fraction() -> None:
    schedule = plan(lr=0.1, warmup_epochs=0.0)
    assert schedule.total_steps == 1000
    assert schedule.lr_at(0) == pytest.approx(0.1)
    assert schedule.lr_at(500) == pytest.approx(0.1 * (0.01 + 0.99 / 2))
    assert schedule.lr_at(1000) == pytest.approx(0.001)
    assert schedule.lr_at(5000) == pytest.approx(0.001)


def test_warmup_raises_weights_from_zero_and_lowers_biases_to_the_same_rate() -> None:
    schedule = plan(lr=0.01, optimizer="sgd", steps_per_epoch=100)
    assert schedule.warmup_steps == 300
    assert schedule.lr_at(0) == 0
    assert schedule.lr_at(0, bias=True) == pytest.approx(0.1)
    assert schedule.lr_at(150) == pytest.approx(plan(lr=0.01, steps_per_epoch=100, warmup_epochs=0.0).lr_at(150) / 2)
    assert schedule.lr_at(300) == pytest.approx(schedule.lr_at(300, bias=True))
    assert schedule.momentum_at(0) == 0.8
    assert schedule.momentum_at(150) == pytest.approx((0.8 + 0.937) / 2)
    assert schedule.momentum_at(300) == 0.937


def test_adamw_has_no_momentum_warmup() -> None:
    assert plan(optimizer="adamw").momentum_at(0) == 0.9


def test_warmup_is_at_least_100_steps_and_at_most_a_third_of_the_run() -> None:
    assert plan(steps_per_epoch=10).warmup_steps == 100
    assert plan(steps_per_epoch=10, epochs=6).warmup_steps == 20
    assert plan(steps_per_epoch=1, epochs=1).warmup_steps == 1


def test_accumulation_grows_to_the_nominal_batch_during_warmup() -> None:
    schedule = plan(batch=16, steps_per_epoch=100, nominal_batch=64)
    assert [schedule.accumulation_at(step) for step in (0, 100, 200, 300, 999)] == [1, 2, 3, 4, 4]
    assert plan(batch=128).accumulation == 1


def test_devices_count_towards_the_nominal_batch() -> None:
    assert plan(batch=16, world_size=2, nominal_batch=64).accumulation == 2


def test_weight_decay_is_scaled_to_the_pictures_of_a_step() -> None:
    assert plan(batch=16).weight_decay == pytest.approx(5e-4)
    assert plan(batch=128).weight_decay == pytest.approx(1e-3)
    assert plan(batch=24, nominal_batch=64).weight_decay == pytest.approx(5e-4 * 72 / 64)  # 24 x 3 pictures


def test_a_small_set_keeps_an_optimizer_step_for_every_batch() -> None:
    # BCCD: 205 pictures are 13 batches of 16, in 30 epochs 390 steps; accumulated to 64 pictures they were 120.
    assert plan(steps_per_epoch=13, epochs=30).accumulation == 1
    # NEU-DET: 1440 pictures, 50 epochs.
    assert plan(steps_per_epoch=90, epochs=50).accumulation == 1
    # Up to 64 pictures where 5000 steps are left.
    assert [plan(steps_per_epoch=steps).accumulation for steps in (99, 100, 150, 200, 4000)] == [1, 2, 3, 4, 4]
    assert plan(steps_per_epoch=4000, world_size=4).accumulation == 1


@pytest.mark.parametrize(
    ("batches", "nominal", "steps"), [(13, 64, 3), (13, 32, 6), (14, 64, 4), (3, 64, 1), (8, 16, 8)]
)
def test_the_optimizer_steps_of_an_epoch_are_of_equal_size(batches, nominal, steps) -> None:
    schedule = plan(steps_per_epoch=batches, nominal_batch=nominal, warmup_epochs=0.0)
    ends = [step for step in range(2 * batches) if schedule.ends_optimizer_step(step)]
    assert len(ends) == 2 * steps
    assert batches - 1 in ends
    sizes = [after - before for before, after in zip([-1, *ends], ends, strict=False)]
    assert sum(sizes) == 2 * batches
    assert max(sizes) - min(sizes) <= 1


def test_optimizer_steps_grow_longer_during_warmup() -> None:
    schedule = plan(steps_per_epoch=100, nominal_batch=64)
    ends = [step for step in range(300) if schedule.ends_optimizer_step(step)]
    sizes = [after - before for before, after in zip([-1, *ends], ends, strict=False)]
    assert sizes[:10] == [1] * 10
    assert set(sizes[-10:]) == {4}
    assert 299 in ends


def test_the_average_covers_about_the_last_tenth_of_the_steps() -> None:
    # The ramps that were chosen by hand for these lengths: 50, 100, 200 and 700.
    for updates, ramp in ((104, 44), (390, 106), (1300, 267), (4500, 737)):
        assert plan(steps_per_epoch=updates, epochs=1).ema_ramp == pytest.approx(ramp, rel=0.02)
        decay = 1 - math.exp(-updates / plan(steps_per_epoch=updates, epochs=1).ema_ramp)
        assert 1 / (1 - decay) == pytest.approx(updates / 10)
    assert plan(steps_per_epoch=4000).ema_ramp == 2000
    assert plan(ema_ramp=30.0).ema_ramp == 30
    assert plan(steps_per_epoch=1, epochs=1).ema_ramp == 1


def test_a_sixth_of_a_short_run_has_no_mosaic() -> None:
    assert [plan(epochs=epochs).close_mosaic for epochs in (1, 6, 30, 60, 300)] == [0, 1, 5, 10, 10]
    assert plan(close_mosaic=0).close_mosaic == 0

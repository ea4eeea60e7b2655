"""Learning rate, momentum and accumulation as pure functions of the step.

A resume needs no state of them.

A step is one batch of one device. Warm-up rises linearly to the cosine (Loshchilov and Hutter, arXiv
1608.03983), which falls from the peak to ``final_lr`` of it; biases may start high instead of at 0, as is
usual in YOLO recipes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from ghostyolo.train.recipe import ClassRecipe, TrainRecipe

_MANY_STEPS = 10_000
# AdamW's rate times (4 + classes) / 5, for trained and for random weights: docs/train.md says what was compared.
_TUNING_RATE, _FRESH_RATE = 0.002, 0.006
_LEAST_WARMUP_STEPS = 100
# Where nothing is given: pictures of one optimiser step at most, and optimiser steps that a run keeps where it can.
# benchmarks/small_sets.py measures both, the average's ramp and the epochs without mosaic.
_LARGEST_NOMINAL_BATCH, _ENOUGH_STEPS = 64, 5000
_LONGEST_EMA_RAMP, _MOST_WITHOUT_MOSAIC = 2000.0, 10


@dataclass(frozen=True)
class Schedule:
    """The plan of one run.

    Attributes:
        optimizer: "sgd" or "adamw", "auto" resolved.
        peak_lr, final_lr: learning rate after warm-up; fraction of it that is left at the end.
        momentum: after warm-up; beta1 for AdamW, which has no momentum warm-up.
        weight_decay: scaled to the pictures that one optimiser step really sees.
        total_steps, warmup_steps: of one device.
        warmup_bias_lr, warmup_momentum: their values at step 0.
        accumulation: batches in one optimiser step after warm-up.
        steps_per_epoch: batches of one device.
        ema_ramp: of the averaged weights.
        close_mosaic: the last so many epochs have no mosaic.
    """

    optimizer: str
    peak_lr: float
    final_lr: float
    momentum: float
    weight_decay: float
    total_steps: int
    warmup_steps: int
    warmup_bias_lr: float
    warmup_momentum: float
    accumulation: int
    steps_per_epoch: int
    ema_ramp: float
    close_mosaic: int

    def lr_at(self, step: int, bias: bool = False) -> float:
        """Learning rate for the given step; ``bias``: for biases."""
        progress = min(step / max(self.total_steps, 1), 1.0)
        cosine = (1 + math.cos(math.pi * progress)) / 2
        lr = self.peak_lr * (self.final_lr + (1 - self.final_lr) * cosine)
        return _ramp(self.warmup_bias_lr if bias else 0.0, lr, self._warmth(step))

    def momentum_at(self, step: int) -> float:
        """Momentum for the given step."""
        if self.optimizer != "sgd":
            return self.momentum
        return _ramp(self.warmup_momentum, self.momentum, self._warmth(step))

    def accumulation_at(self, step: int) -> int:
        """Give the number of batches in one optimiser step.

        It is one at first, so that the few first steps are not spent waiting.
        """
        return max(1, round(_ramp(1, self.accumulation, self._warmth(step))))

    def ends_optimizer_step(self, step: int) -> bool:
        """Whether the optimiser steps after this batch.

        It always does at the end of an epoch. The batches of an epoch are shared out evenly, since a step over the
        few that are left over would weigh as much as the others: gradients are clipped, and AdamW sets their scale.
        """
        epoch, batch = divmod(step, self.steps_per_epoch)
        return batch in _optimizer_steps(self, epoch)

    def _warmth(self, step: int) -> float:
        return min(step / self.warmup_steps, 1.0) if self.warmup_steps else 1.0


@lru_cache(maxsize=2)
def _optimizer_steps(schedule: Schedule, epoch: int) -> frozenset[int]:
    """The batches of an epoch after which the optimiser steps."""
    first = epoch * schedule.steps_per_epoch
    steps = range(first, first + schedule.steps_per_epoch)
    shares = list(accumulate(1 / schedule.accumulation_at(step) for step in steps))
    count = max(1, round(shares[-1]))
    done = [math.floor(share * count / shares[-1] + 1e-9) for share in shares]
    return frozenset(batch for batch, (now, before) in enumerate(zip(done, [0, *done], strict=False)) if now > before)


def plan_schedule(
    recipe: TrainRecipe, *, num_classes: int, steps_per_epoch: int, world_size: int = 1, from_scratch: bool = True
) -> Schedule:
    """Resolve "auto" and everything that depends on the data.

    Args:
        num_classes: of the data set; "auto" lowers the learning rate with it.
        steps_per_epoch: batches of one device in an epoch.
        world_size: devices that train together.
        from_scratch: random weights, or those of other classes; "auto" is bolder then.
    """
    total = recipe.epochs * steps_per_epoch
    batch = recipe.batch * world_size
    accumulation = _accumulation(recipe.nominal_batch, batch, total)
    seen = batch * accumulation
    optimizer, lr = recipe.optimizer, recipe.lr
    if optimizer == "auto":
        few = total / accumulation <= _MANY_STEPS
        optimizer = "adamw" if few else "sgd"
        base = _FRESH_RATE if from_scratch else _TUNING_RATE
        lr = lr or (round(base * 5 / (4 + num_classes), 6) if few else None)
    sgd = optimizer == "sgd"
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if warmup:
        # Short runs still learn at full rate for two thirds of their steps.
        warmup = min(max(warmup, _LEAST_WARMUP_STEPS), max(1, total // 3))
    return Schedule(
        optimizer=optimizer,
        peak_lr=lr or (0.01 if sgd else 0.001),
        final_lr=recipe.final_lr,
        momentum=recipe.momentum if recipe.momentum is not None else (0.937 if sgd else 0.9),
        weight_decay=recipe.weight_decay * seen / (recipe.nominal_batch or min(seen, _LARGEST_NOMINAL_BATCH)),
        total_steps=total,
        warmup_steps=warmup,
        warmup_bias_lr=recipe.warmup_bias_lr if recipe.warmup_bias_lr is not None else (0.1 if sgd else 0.0),
        warmup_momentum=recipe.warmup_momentum,
        accumulation=accumulation,
        steps_per_epoch=steps_per_epoch,
        ema_ramp=recipe.ema_ramp or usual_ema_ramp(total / accumulation),
        close_mosaic=usual_close_mosaic(recipe.epochs) if recipe.close_mosaic is None else recipe.close_mosaic,
    )


def _accumulation(nominal_batch: int | None, batch: int, total: int) -> int:
    if nominal_batch is not None:
        return max(1, round(nominal_batch / batch))
    return max(1, min(round(_LARGEST_NOMINAL_BATCH / batch), total // _ENOUGH_STEPS))


def usual_ema_ramp(updates: float) -> float:
    """Return the ramp of an average over the last tenth of the updates.

    After them the decay is 1 - exp(-updates / ramp), and the average covers 1 / (1 - decay) of them.
    """
    return min(_LONGEST_EMA_RAMP, max(1.0, updates / max(1.0, math.log(max(updates, 1.0) / 10))))


def usual_close_mosaic(epochs: int) -> int:
    """Epochs without mosaic at the end of a run."""
    return min(_MOST_WITHOUT_MOSAIC, round(epochs / 6))


@dataclass(frozen=True)
class ClassSchedule:
    """The plan of one run of a classifier.

    Warm-up rises linearly; then the cosine falls over the whole run, or the rate falls by a factor every few epochs.

    Attributes:
        recipe: the rates and their shape.
        steps_per_epoch: batches of one device.
        accumulation: batches in one optimiser step.
    """

    recipe: ClassRecipe
    steps_per_epoch: int
    accumulation: int

    @property
    def total_steps(self) -> int:
        """Batches of one device in the run."""
        return self.recipe.epochs * self.steps_per_epoch

    def lr_at(self, step: int) -> float:
        """Learning rate for the given step."""
        recipe = self.recipe
        warmup = min(round(recipe.warmup_epochs * self.steps_per_epoch), self.total_steps - 1)
        if step < warmup:
            return recipe.warmup_lr + (recipe.lr - recipe.warmup_lr) * step / warmup
        if recipe.schedule == "step":
            return recipe.lr * recipe.decay_rate ** math.floor(step / (recipe.decay_epochs * self.steps_per_epoch))
        progress = (step - warmup) / max(self.total_steps - warmup, 1)
        cosine = (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        return recipe.lr * (recipe.final_lr + (1 - recipe.final_lr) * cosine)


def plan_class_schedule(recipe: ClassRecipe, *, steps_per_epoch: int, world_size: int = 1) -> ClassSchedule:
    """Make the schedule for an epoch's batches and the devices."""
    wanted = recipe.nominal_batch or recipe.batch * world_size
    return ClassSchedule(recipe, steps_per_epoch, max(1, round(wanted / (recipe.batch * world_size))))


def _ramp(start: float, end: float, share: float) -> float:
    return start + (end - start) * share

"""Learning rate of a classifier as a pure function of the step: a resume needs no state of it.

A step is one batch of one device. Warm-up rises linearly; then the cosine (arXiv 1608.03983) falls over the whole run,
or the rate falls by a factor every few epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ghostyolo.train.classification.recipe import ClassRecipe


@dataclass(frozen=True)
class ClassSchedule:
    """The plan of one run.

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


def plan_schedule(recipe: ClassRecipe, *, steps_per_epoch: int, world_size: int = 1) -> ClassSchedule:
    """The schedule for so many batches of one device in an epoch, on so many devices."""
    wanted = recipe.nominal_batch or recipe.batch * world_size
    return ClassSchedule(recipe, steps_per_epoch, max(1, round(wanted / (recipe.batch * world_size))))

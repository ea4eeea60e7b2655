"""One training step of a classifier as a LightningModule.

It mixes, runs the network, and takes the loss with or without a teacher.

Augmentation is seeded by (seed, epoch, picture), mixing and dropout by (seed, epoch, rank, batch), and the schedule is
a function of the step, so that a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from timm.data.mixup import Mixup
from timm.optim import create_optimizer_v2
from torch import Tensor

from ghostyolo.data.augment.config import ClassAugment
from ghostyolo.data.classification import ClassBatch
from ghostyolo.losses.distil_classifier import classification_loss
from ghostyolo.models.image_classifier import ImageClassifier
from ghostyolo.train.classification.logit_cache import LogitCache
from ghostyolo.train.classification.teacher import Teacher
from ghostyolo.train.module import TrainingModule, mix_seed, seed_device
from ghostyolo.train.nan_guard import NanGuard
from ghostyolo.train.recipe import ClassRecipe
from ghostyolo.train.schedule import ClassSchedule, usual_ema_ramp


class ScheduledModule(TrainingModule):
    """Trains with the optimiser and the schedule of a :class:`ClassRecipe`.

    Args:
        model: the network.
        loss_parts: names of what the loss consists of.
        recipe: what to do.
        schedule: the recipe resolved for this data set.
        nan_guard: stops the run at a loss that is not finite.

    Attributes:
        images_per_second: of all devices, over the epochs of this process; None before the first.
    """

    def __init__(
        self,
        model: ImageClassifier,
        loss_parts: tuple[str, ...],
        recipe: ClassRecipe,
        schedule: ClassSchedule,
        nan_guard: NanGuard,
    ) -> None:
        super().__init__(
            model,
            loss_parts,
            schedule.steps_per_epoch,
            ema_decay=recipe.ema_decay,
            ema_ramp=recipe.ema_ramp or usual_ema_ramp(schedule.total_steps / schedule.accumulation),
            channels_last=recipe.channels_last,
            nan_guard=nan_guard,
        )
        self.recipe, self.schedule, self.channels = recipe, schedule, model.in_channels
        self._pictures, self._seconds, self._begun = 0, 0.0, 0.0

    @property
    def images_per_second(self) -> float | None:
        return self._pictures * self.trainer.world_size / self._seconds if self._seconds else None

    def lr_at(self, step: int) -> float:
        return self.schedule.lr_at(step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.model, self.recipe)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.trainer.accumulate_grad_batches = self.schedule.accumulation

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._begun = time.perf_counter()

    def on_train_batch_start(self, batch: ClassBatch, batch_idx: int) -> None:
        lr = self.lr_at(self.current_epoch * self.steps_per_epoch + batch_idx)
        for group in self._plain_optimizer().param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.ema.update()

    def on_train_batch_end(self, outputs: Any, batch: ClassBatch, batch_idx: int) -> None:
        self._pictures += len(batch)

    def on_train_epoch_end(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._seconds += time.perf_counter() - self._begun


class ClassModule(ScheduledModule):
    """Trains a classifier.

    Args:
        model: logits of pictures of 0 to 1.
        recipe, schedule, nan_guard: see :class:`ScheduledModule`.
        teacher: None where there is none, or where its logits are all cached.
        cache: of its logits.
    """

    def __init__(
        self,
        model: ImageClassifier,
        recipe: ClassRecipe,
        schedule: ClassSchedule,
        nan_guard: NanGuard,
        teacher: Teacher | None = None,
        cache: LogitCache | None = None,
    ) -> None:
        distils = teacher is not None or cache is not None
        super().__init__(model, ("ce", "kd") if distils else ("ce",), recipe, schedule, nan_guard)
        self.teacher, self.cache, self.distils = teacher, cache, distils
        self.num_classes = model.num_classes
        self.mixup = build_mixup(recipe.augment, model.num_classes)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.teacher is not None:
            self.teacher.to(self.device)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.cache is not None:
            self.cache.begin_epoch(self.current_epoch)

    def training_step(self, batch: ClassBatch, batch_idx: int) -> Tensor:
        seed = mix_seed(self.recipe.seed, self.current_epoch, self.global_rank, batch_idx)
        images, targets = self._network_input(batch, seed)
        teacher_logits = self._teacher_logits(batch, images) if len(batch) else None
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        seed_device(self.device, seed)
        losses = classification_loss(
            self.model(images)[: max(len(batch), 1)],
            targets,
            teacher_logits,
            alpha=self.recipe.alpha,
            tau=self.recipe.tau,
            smoothing=self.recipe.label_smoothing,
        )
        loss = losses["loss"]
        if not len(batch):
            return loss * 0  # every rank must run a backward pass
        self.nan_guard.check(loss, batch.indices, self.current_epoch, batch_idx)
        self.add_losses(losses)
        return loss

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if self.cache is not None:
            self.cache.end_epoch()

    def _network_input(self, batch: ClassBatch, seed: int) -> tuple[Tensor, Tensor]:
        """Pictures of 0 to 1 and their classes, or the probabilities of mixed ones."""
        if not len(batch):
            grey = torch.full((2, self.channels, self.recipe.imgsz, self.recipe.imgsz), 0.5, device=self.device)
            return grey, torch.zeros(1, dtype=torch.int64, device=self.device)
        images = batch.images.float()
        if batch.images.dtype == torch.uint8:
            images = images / 255
        if self.mixup is not None:
            return mix(self.mixup, images, batch.labels, seed, self.num_classes)
        if len(batch) == 1:  # batch norm cannot train on a single value
            images = images.repeat(2, 1, 1, 1)
        return images, batch.labels

    def _teacher_logits(self, batch: ClassBatch, images: Tensor) -> Tensor | None:
        if not self.distils:
            return None
        known = self.cache.get(batch.indices) if self.cache is not None else None
        if known is not None:
            return known.to(self.device)
        assert self.teacher is not None
        logits = self.teacher.logits(images[: len(batch)])
        return logits if self.cache is None else self.cache.put(batch.indices, logits)


def build_optimizer(model: torch.nn.Module, recipe: ClassRecipe) -> torch.optim.Optimizer:
    """timm's optimiser of the recipe's name; batch norms and biases do not decay."""
    return create_optimizer_v2(
        model, recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.momentum, filter_bias_and_bn=True
    )


def build_mixup(augment: ClassAugment, num_classes: int) -> Mixup | None:
    """Make timm's mixing of a whole batch; None where it is off.

    Smoothing is the loss's affair.
    """
    if not augment.mixes:
        return None
    return Mixup(
        augment.mixup, augment.cutmix, prob=augment.mix_prob, mode="batch", label_smoothing=0.0, num_classes=num_classes
    )


def mix(mixup: Mixup, images: Tensor, labels: Tensor, seed: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mix the pictures of a batch.

    The last one of an odd batch stays as it is.

    Returns:
        Pictures, and the probabilities (B, classes) of their classes.
    """
    np.random.seed(seed % 2**32)
    even = len(labels) - len(labels) % 2
    targets = F.one_hot(labels, num_classes).to(images.dtype)
    if even:
        mixed, mixed_targets = mixup(images[:even].clone(), labels[:even])
        images = torch.cat([mixed, images[even:]])
        targets = torch.cat([mixed_targets.to(images.dtype), targets[even:]])
    if len(labels) == 1:
        images = images.repeat(2, 1, 1, 1)
    return images, targets

"""One detection training step as a LightningModule: augment, forward, loss, optimiser, averaged weights.

A resumed run equals an uninterrupted one, since an epoch begins with the weights, the optimiser and the average alone:
order, augmentation and dropout are seeded by (seed, epoch, rank, batch), and the schedule is a function of the step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from ghostyolo.data.augment.batch import BatchAugment
from ghostyolo.data.dataset import Batch
from ghostyolo.data.targets import Targets
from ghostyolo.losses.registry import Criterion, FollowsEpochs
from ghostyolo.train.distil.distiller import Distiller
from ghostyolo.train.module import TrainingModule, mix_seed, seed_device
from ghostyolo.train.nan_guard import NanGuard
from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.schedule import Schedule


class DetectionModule(TrainingModule):
    """Trains ``model`` with ``criterion``.

    Args:
        model: in training mode ``model(images)`` gives what the criterion takes.
        criterion: (output, targets) -> {"loss", and each of its parts}.
        recipe: what to do.
        schedule: the recipe resolved for this data set.
        nan_guard: stops the run at a loss that is not finite.
        distiller: with a teacher. Its adapters learn with the model, but are no part of it or of its average.
        class_weights: (C,) what an object of each class counts in the class loss; None: 1.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        recipe: TrainRecipe,
        schedule: Schedule,
        nan_guard: NanGuard,
        distiller: Distiller | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__(
            model,
            (*criterion.parts, *(distiller.parts if distiller is not None else ())),
            schedule.total_steps // recipe.epochs,
            ema_decay=recipe.ema_decay,
            ema_ramp=schedule.ema_ramp,
            channels_last=recipe.channels_last,
            nan_guard=nan_guard,
        )
        self.criterion = criterion
        self.recipe, self.schedule = recipe, schedule
        self.augment = BatchAugment(recipe.augment, recipe.imgsz)
        self.class_weights = class_weights
        self.distiller = distiller
        self.adapters = distiller.adapters if distiller is not None else nn.ModuleDict()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Lightning refuses to clip the gradients of a fused optimiser in mixed precision.
        learners = nn.ModuleList([self.model, self.adapters])
        return build_optimizer(learners, self.schedule, fused=self.recipe.precision == "32")

    def lr_at(self, step: int) -> float:
        return self.schedule.lr_at(step)

    def describe(self) -> str:
        schedule, recipe = self.schedule, self.recipe
        pictures = recipe.batch * schedule.accumulation
        return (
            f"{recipe.epochs} epochs of {schedule.steps_per_epoch} batches at {recipe.imgsz} px, {schedule.optimizer} "
            f"with rate {schedule.peak_lr:.2g}, an optimiser step for about {pictures} pictures of a device"
        )

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.distiller is not None:
            self.distiller.teacher.to(self.device, self.channels_last)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if isinstance(self.criterion, FollowsEpochs):
            self.criterion.begin_epoch(self.current_epoch, self.recipe.epochs, self.schedule.close_mosaic)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        step = self.current_epoch * self.steps_per_epoch + batch_idx
        # Lightning steps where the batch's number is a multiple of this: here, or never but at the epoch's end.
        ends = self.schedule.ends_optimizer_step(step)
        self.trainer.accumulate_grad_batches = 1 if ends else self.steps_per_epoch + 1
        momentum = self.schedule.momentum_at(step)
        for group in self._plain_optimizer().param_groups:
            group["lr"] = self.schedule.lr_at(step, bias=group["name"] == "bias")
            if "momentum" in group:
                group["momentum"] = momentum

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        seed = mix_seed(self.recipe.seed, self.current_epoch, self.global_rank, batch_idx)
        images, targets = self.network_input(batch, seed)
        seed_device(self.device, seed)  # at each batch: loaders draw from the same stream when they start
        losses = self.losses(images, targets)
        loss = losses["loss"]
        if not len(batch):
            # Every rank must run a backward pass, or the others wait for its gradients for ever.
            loss = loss * 0
        else:
            self.nan_guard.check(loss, batch.indices, self.current_epoch, batch_idx)
            self.add_losses(losses)
        # Lightning divides by the accumulation and DDP by the ranks; the step is meant to be over the sum.
        return loss * (self.trainer.accumulate_grad_batches * self.trainer.world_size)

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The criterion's and the distiller's losses of a batch."""
        if self.distiller is None:
            return self.criterion(self.model(images), targets)
        model: Any = self.model
        features = model.features(images)
        output = model.head(features)
        losses = self.criterion(output, targets)
        taught = self.distiller.losses(images, features, output)
        # As the criterion's: "loss" is times the number of pictures, its parts are not.
        total = losses["loss"] + torch.stack(list(taught.values())).sum() * len(images)
        return {**losses, **{name: part.detach() for name, part in taught.items()}, "loss": total}

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()
        self.ema.update()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Do nothing: gradients are cleared after each step.

        Lightning's own rule (at every n-th batch) would keep old ones while the accumulation grows during warm-up.
        """

    def network_input(self, batch: Batch, seed: int) -> tuple[Tensor, Targets]:
        """Augmented pictures (B, C, S, S) and their objects."""
        if not len(batch):
            channels = getattr(self.model, "in_channels", 3)
            grey = torch.full((2, channels, self.recipe.imgsz, self.recipe.imgsz), 0.5, device=self.device)
            return grey, Targets.from_lists([grey.new_zeros(0, 4)] * 2, [torch.zeros(0).long().to(self.device)] * 2)
        # A picture whose companions cannot be read is taken twice: batch norm needs two values of a channel, and
        # small maps have one a picture.
        times = 2 if len(batch) == 1 and self.recipe.batch > 1 else 1
        images, targets = self.augment(
            batch.images * times,
            batch.boxes * times,
            batch.labels * times,
            generator=torch.Generator().manual_seed(seed),
            mosaic=self.current_epoch < self.recipe.epochs - self.schedule.close_mosaic,
            known=None if batch.known is None else batch.known.repeat(times, 1),
        )
        if self.class_weights is not None:
            targets.class_weights = self.class_weights.to(targets.boxes_xyxy)
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, targets


def group_parameters(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split trainable parameters into "weight" (two or more dimensions, decayed), "norm" (others) and "bias".

    Biases are apart since their learning rate starts high. A group without parameters is left out.
    """
    groups: dict[str, list[nn.Parameter]] = {"weight": [], "norm": [], "bias": []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.endswith("bias"):
            groups["bias"].append(parameter)
        else:
            groups["weight" if parameter.ndim > 1 else "norm"].append(parameter)
    return [
        {"params": parameters, "name": name, "weight_decay": weight_decay if name == "weight" else 0.0}
        for name, parameters in groups.items()
        if parameters
    ]


def build_optimizer(model: nn.Module, schedule: Schedule, fused: bool) -> torch.optim.Optimizer:
    """Make the optimiser.

    The training module sets learning rate and momentum before each step.

    Args:
        fused: one kernel for all parameters; the same rule, much less overhead.
    """
    groups = group_parameters(model, schedule.weight_decay)
    if schedule.optimizer == "sgd":
        # Nesterov wants a momentum above 0, which warm-up may start from.
        nesterov = schedule.momentum > 0
        return torch.optim.SGD(groups, schedule.peak_lr, schedule.momentum, nesterov=nesterov, fused=fused)
    return torch.optim.AdamW(groups, schedule.peak_lr, betas=(schedule.momentum, 0.999), fused=fused)

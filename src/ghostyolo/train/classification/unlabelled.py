"""Trains a backbone on pictures without labels.

With a teacher each map of the backbone learns the teacher's features (:func:`features_loss`); without one two views of
a picture must have alike embeddings (:func:`views_loss`). What only training needs, projections and the expander, is
kept beside the network: it learns and resumes, and is not written into the weights.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from ghostyolo.data.class_transforms import training_transform
from ghostyolo.data.classification import ClassBatch, ClassDataset, Key, KeySampler, Picture, collate
from ghostyolo.data.dataset import Missing
from ghostyolo.data.labelled import ClassificationData, digest
from ghostyolo.data.sampler import EpochSampler
from ghostyolo.errors import ConfigError
from ghostyolo.files import write_json
from ghostyolo.losses.unlabelled import features_loss, views_loss
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.count import count_parameters
from ghostyolo.models.image_classifier import BackboneClassifier, ImageClassifier
from ghostyolo.train.classification.feature_teacher import FeatureTeacher, build_feature_teacher
from ghostyolo.train.classification.module import ScheduledModule, build_optimizer
from ghostyolo.train.classification.teacher import teacher_digest
from ghostyolo.train.distil.cost import describe_cost
from ghostyolo.train.loop import Place, Task, TrainResult, describe_run, main_console, report_skipped, run_loop
from ghostyolo.train.module import mix_seed, seed_device
from ghostyolo.train.process import is_main_process
from ghostyolo.train.recipe import ClassRecipe
from ghostyolo.train.schedule import ClassSchedule, plan_class_schedule

NO_LABEL = "unlabelled"
"""The only class of a network that has learned none."""
RESULTS = "metrics.json"
_EMBEDDING = 1024  # numbers; the paper's 8192 gain 2 points on ImageNet and cost a small machine as much as the network
_JITTER = 0.4


class TwoViews(ClassDataset):
    """The pictures of a split, each augmented twice."""

    def __getitem__(self, key: Key) -> Any:
        epoch, index = key
        return super().__getitem__((2 * epoch, index)), super().__getitem__((2 * epoch + 1, index))


def collate_views(pairs: Sequence[tuple[Picture | Missing, Picture | Missing]]) -> ClassBatch:
    """Gather the first views of a batch, then the second ones."""
    return collate([view for views in zip(*pairs, strict=True) for view in views])


class UnlabelledModule(ScheduledModule):
    """Trains a backbone without labels.

    Args:
        model: its backbone learns; its last layers stay as they are.
        recipe, schedule, nan_guard: see :class:`ScheduledModule`.
        teacher: None: views of one picture are compared.
    """

    def __init__(
        self, model: ImageClassifier, recipe: ClassRecipe, schedule: ClassSchedule, place: Place,
        teacher: FeatureTeacher | None,
    ) -> None:  # fmt: skip
        parts = ("features",) if teacher is not None else ("invariance", "variance", "covariance")
        super().__init__(model, parts, recipe, schedule, place.nan_guard)
        self.teacher = teacher
        backbone: Any = model.backbone
        model.requires_grad_(False)
        backbone.requires_grad_(True)
        self.heads: nn.Module
        if teacher is not None:
            self.heads = nn.ModuleList(nn.Conv2d(channels, teacher.channels, 1) for channels in backbone.channels)
        else:
            self.heads = _expander(sum(backbone.channels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(nn.ModuleList([self.model, self.heads]), self.recipe)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.teacher is not None:
            self.teacher.to(self.device)

    def training_step(self, batch: ClassBatch, batch_idx: int) -> Tensor:
        seed_device(self.device, mix_seed(self.recipe.seed, self.current_epoch, self.global_rank, batch_idx))
        enough = len(batch) >= (2 if self.teacher is not None else 4)
        images = self._pictures_of(batch) if enough else self._grey()
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        losses = self._losses(images)
        if not enough:  # every rank must run a backward pass
            return losses["loss"] * 0
        self.nan_guard.check(losses["loss"], batch.indices, self.current_epoch, batch_idx)
        self.add_losses(losses)
        return losses["loss"]

    def _losses(self, images: Tensor) -> dict[str, Tensor]:
        model: Any = self.model
        maps = model.backbone((images - model.mean) / model.std if model.normalise else images)
        if self.teacher is None:
            pooled = torch.cat([level.mean((2, 3)) for level in maps], 1)
            return views_loss(*self.heads(pooled).chunk(2))
        theirs = self.teacher.look(images)
        heads: Any = self.heads
        distances = [features_loss(head(level), theirs) for head, level in zip(heads, maps, strict=True)]
        loss = torch.stack(distances).mean()
        return {"loss": loss, "features": loss}

    def _pictures_of(self, batch: ClassBatch) -> Tensor:
        images = batch.images.float()
        if batch.images.dtype == torch.uint8:
            images = images / 255
        return images[: len(images) - len(images) % 2] if self.teacher is None else images

    def _grey(self) -> Tensor:
        side = self.recipe.imgsz
        return torch.full((4, self.channels, side, side), 0.5, device=self.device)


def _expander(channels: int) -> nn.Sequential:
    """The published expander: three linear layers, norms and ReLU between them."""
    layers: list[nn.Module] = []
    for given in (channels, _EMBEDDING):
        layers += [nn.Linear(given, _EMBEDDING, bias=False), nn.BatchNorm1d(_EMBEDDING), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(_EMBEDDING, _EMBEDDING, bias=False))


def fit_unlabelled(
    model: ImageClassifier,
    metadata: ModelMetadata,
    data: ClassificationData,
    recipe: ClassRecipe,
    out: str | Path,
    *,
    resume: bool = False,
    place: str | None = None,
    console: Console | None = None,
) -> TrainResult[dict[str, Any]]:
    """Train the backbone of ``model`` in place, and write the run to ``out``.

    Args and errors: see :func:`ghostyolo.train.classification.fit.fit_classifier`. There is nothing to validate on:
    the last weights are the result.

    Raises:
        ConfigError: a network without maps of its own, or a setting that needs labels.
    """
    console = main_console(console)
    check_unlabelled(model, recipe)
    teacher = build_feature_teacher(recipe, metadata.in_channels) if recipe.teacher is not None else None
    if teacher is None:
        line = "no labels and no teacher: two views of each picture are to be alike (VICReg)"
    else:
        cost = describe_cost(str(recipe.teacher), teacher.net, teacher.imgsz or recipe.imgsz, metadata.in_channels)
        line = f"no labels: the maps learn the {teacher.channels} features of the teacher; {cost}"
    console.print(line, highlight=False, soft_wrap=True, markup=False)
    records = data.splits["train"]
    kind = ClassDataset if teacher is not None else TwoViews
    augment = recipe.augment
    if teacher is None and augment.color_jitter is None:
        # Views of equal colours are told to be alike by their colours alone.
        augment = augment.model_copy(update={"color_jitter": _JITTER})
    transform = training_transform(augment, recipe.imgsz)
    task = Task(
        recipe,
        metadata,
        describe_run(
            metadata, place or os.path.abspath(data.root), data.splits, digest(records), teacher_digest(recipe)
        ),
        records,
        kind(
            records,
            transform,
            seed=recipe.seed,
            channels=metadata.in_channels,
            cache=recipe.cache,
            pixel_range=metadata.pixel_range,
        ),
        collate if teacher is not None else collate_views,
        None,
        lambda rank, world_size: KeySampler(
            EpochSampler(len(records), seed=recipe.seed, rank=rank, world_size=world_size)
        ),
        drop_last=True,
    )

    def make_module(place: Place) -> UnlabelledModule:
        schedule = plan_class_schedule(recipe, steps_per_epoch=place.steps_per_epoch, world_size=place.world_size)
        return UnlabelledModule(model, recipe, schedule, place, teacher)

    finished = run_loop(task, make_module, out, resume=resume, console=console)
    metrics: dict[str, Any] = {}
    if is_main_process():
        module, state = finished.module, finished.state
        assert isinstance(module, UnlabelledModule)
        speed = module.images_per_second
        metrics = {
            "epochs": state.epochs_done,
            "images_per_second": None if speed is None else round(speed, 1),
            "training_seconds": round(state.seconds, 1),
            "model": metadata.model,
            "params": count_parameters(model),
            "imgsz": recipe.imgsz,
            "teacher": recipe.teacher,
            "labels": False,
            "seed": recipe.seed,
            "data": data.root.name,
            "pictures": {"train": len(records)},
            "pictures_skipped": state.broken,
        }
        write_json(finished.folder / RESULTS, metrics)
        report_skipped(state.broken, console)
    return finished.result(metrics)


def check_unlabelled(model: ImageClassifier, recipe: ClassRecipe) -> None:
    """Refuse what cannot learn without labels.

    Raises:
        ConfigError: see above.
    """
    if not isinstance(model, BackboneClassifier):
        raise ConfigError(
            f"model '{model.config.name}' is a whole network of another library, of which no maps are known: without "
            "labels choose a backbone of `ghostyolo models --parts`"
        )
    if recipe.augment.mixes:
        raise ConfigError("augment.mixup and augment.cutmix mix labels, and there are none: leave them out")
    if recipe.teacher_cache is not None:
        raise ConfigError("teacher_cache keeps logits, and without labels features are learned: leave it out")

"""Train a classifier from its first epoch, or from the last finished one, to its metrics."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.utils.data import DataLoader

from ghostyolo.data.class_transforms import training_transform
from ghostyolo.data.classification import ClassDataset, KeySampler, collate
from ghostyolo.data.labelled import ClassificationData, digest
from ghostyolo.data.sampler import EpochSampler
from ghostyolo.files import write_json
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.count import count_parameters, try_count_macs
from ghostyolo.models.image_classifier import ImageClassifier
from ghostyolo.models.weights import read_checkpoint
from ghostyolo.nn.reparam import fold
from ghostyolo.train.classification.logit_cache import LogitCache, open_cache
from ghostyolo.train.classification.module import ClassModule
from ghostyolo.train.classification.recipe import ClassRecipe
from ghostyolo.train.classification.teacher import Teacher, build_teacher, teacher_digest
from ghostyolo.train.classification.validation import ClassValidator
from ghostyolo.train.detection.fit import make_trainer, quiet_lightning, report_skipped, run_trainer
from ghostyolo.train.distil.cost import describe_cost
from ghostyolo.train.epoch_end import BEST, LAST, RESUME, EpochEnd
from ghostyolo.train.nan_guard import NanGuard
from ghostyolo.train.process import StopAtSigterm, is_main_process, keep_freed_memory
from ghostyolo.train.progress import ProgressReport
from ghostyolo.train.run_folder import begin
from ghostyolo.train.schedule import plan_class_schedule
from ghostyolo.train.state import RunState

RESULTS = "metrics.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassResult:
    """What a run left behind.

    Attributes:
        folder: of the run; ``best`` and ``last`` are checkpoints in it.
        metrics: what ``metrics.json`` holds; empty on ranks other than 0.
        rows: one a finished epoch, as in metrics.csv.
        seconds: spent in epochs, over all resumes.
        stopped_early: patience ran out.
    """

    folder: Path
    best: Path
    last: Path
    metrics: dict[str, Any]
    rows: list[dict[str, Any]] = field(repr=False)
    seconds: float
    stopped_early: bool


def fit_classifier(
    model: ImageClassifier,
    metadata: ModelMetadata,
    data: ClassificationData,
    recipe: ClassRecipe,
    out: str | Path,
    *,
    resume: bool = False,
    source: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> ClassResult:
    """Train ``model`` in place; write weights, resume state, config and metrics to ``out``.

    Args:
        metadata: for the checkpoints.
        data: its "train" split is learned; its "val" split, where there is one, is validated on.
        resume: go on with the run in ``out`` after its last finished epoch.
        source: where the data was read from and how; written to the config and compared on resume.

    Raises:
        ConfigError: an impossible recipe, another one than the resumed run's, a teacher or cache that does not fit.
        DataError: no picture can be read.
        TrainingError: the folder is taken, nothing to resume, or the loss is not a number.
        OutputError: a result cannot be written.
        KeyboardInterrupt: Ctrl-C. SIGTERM exits with status 143. Resume goes on after the last epoch.
    """
    main = is_main_process()
    console = (console or Console()) if main else Console(quiet=True)
    channels = metadata.in_channels
    dataset = ClassDataset(
        data.splits["train"],
        training_transform(recipe.augment, recipe.imgsz),
        seed=recipe.seed,
        channels=channels,
        cache=recipe.cache,
    )
    taught_by = teacher_digest(recipe)
    teacher, cache = _teaching(recipe, data, channels, taught_by, console, main)
    run = {
        "model": metadata.model,
        "network": metadata.config,
        "in_channels": channels,
        "class_names": data.class_names,
        **(source or {"data": str(data.root)}),
        "pictures": {split: len(images) for split, images in data.splits.items()},
        "labels_digest": digest(data.splits["train"]),
        "teacher": taught_by,
    }
    folder = begin(out, recipe, run, resume=resume) if main else Path(out)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)

    keep_freed_memory()
    state = RunState()
    with quiet_lightning():
        trainer = make_trainer(recipe, folder)
        rank, world_size = trainer.global_rank, trainer.world_size
        order = EpochSampler(len(dataset), seed=recipe.seed, rank=rank, world_size=world_size)
        loader = _make_loader(dataset, order, recipe, on_cuda=trainer.strategy.root_device.type == "cuda")
        schedule = plan_class_schedule(recipe, steps_per_epoch=len(loader), world_size=world_size)
        validator = None
        if data.splits.get("val"):
            validator = ClassValidator(data.splits["val"], recipe, channels)
        elif main:
            log.warning("%s has no validation pictures: the last weights count as the best", data.root)
        guard = NanGuard(data.splits["train"], folder, rank, world_size)
        logits = None if cache is None else LogitCache(cache, rank, world_size)
        module = ClassModule(model, recipe, schedule, guard, teacher, logits)
        progress = ProgressReport(console, state, recipe.epochs, len(loader))
        epoch_end = EpochEnd(folder, metadata, recipe, state, progress, dataset, validator)
        trainer.callbacks += [progress, epoch_end, StopAtSigterm()]
        run_trainer(trainer, module, loader, folder / RESUME if resume else None)

    metrics: dict[str, Any] = {}
    if main:
        skipped = {str(path): reason for path, reason in (validator.skipped if validator else [])} | state.broken
        metrics = _measure(model, validator, module, folder, state, recipe, data, metadata, skipped)
        write_json(folder / RESULTS, metrics)
        report_skipped(skipped, console)
    return ClassResult(
        folder=folder,
        best=folder / BEST,
        last=folder / LAST,
        metrics=metrics,
        rows=state.rows,
        seconds=state.seconds,
        stopped_early=state.epochs_done < recipe.epochs,
    )


def _teaching(
    recipe: ClassRecipe, data: ClassificationData, channels: int, taught_by: str | None, console: Console, main: bool
) -> tuple[Teacher | None, Path | None]:
    """The teacher, and the folder of its logits; no teacher is built where all of them are there."""
    if recipe.teacher is None:
        return None, None
    world_size = recipe.devices * recipe.num_nodes
    folder = None
    if recipe.teacher_cache is not None and Path(recipe.teacher_cache).is_dir():
        # Compared before a teacher is built, which may take long.
        folder = open_cache(recipe.teacher_cache, _cache_key(recipe, data, channels, taught_by), console, write=False)
        ready = all(LogitCache(folder, rank, world_size).complete(recipe.epochs) for rank in range(world_size))
        if ready:
            console.print(f"teacher logits: all in {folder}, the teacher is not run", highlight=False, soft_wrap=True)
            return None, folder
    teacher = build_teacher(recipe, data.class_names, channels)
    cost = describe_cost(str(recipe.teacher), teacher.net, teacher.imgsz or recipe.imgsz, channels)
    console.print(f"{cost}; alpha {recipe.alpha:g}, tau {recipe.tau:g}", highlight=False, soft_wrap=True)
    if recipe.teacher_cache is not None:
        folder = open_cache(recipe.teacher_cache, _cache_key(recipe, data, channels, taught_by), console, write=main)
    return teacher, folder


def _cache_key(recipe: ClassRecipe, data: ClassificationData, channels: int, taught_by: str | None) -> dict[str, Any]:
    """All that decides what a teacher sees and says in a run."""
    return {
        "teacher": taught_by,
        "teacher_imgsz": recipe.teacher_imgsz,
        "data": digest(data.splits["train"]),
        "pictures": len(data.splits["train"]),
        "classes": len(data.class_names),
        "channels": channels,
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "imgsz": recipe.imgsz,
        "batch": recipe.batch,
        "devices": recipe.devices * recipe.num_nodes,
        "augment": recipe.augment.model_dump(mode="json"),
    }


def _make_loader(dataset: ClassDataset, order: EpochSampler, recipe: ClassRecipe, on_cuda: bool) -> DataLoader[Any]:
    if recipe.workers and recipe.cache == "ram":
        dataset.preload()  # before the workers fork, so that they share one cache
    return DataLoader(
        dataset,
        batch_size=recipe.batch,
        sampler=KeySampler(order),  # type: ignore[arg-type]
        collate_fn=collate,
        num_workers=recipe.workers,
        persistent_workers=recipe.workers > 0,
        pin_memory=on_cuda,
        drop_last=len(order) >= recipe.batch,  # a small last batch would disturb batch norms
    )


def _measure(
    model: ImageClassifier,
    validator: ClassValidator | None,
    module: ClassModule,
    folder: Path,
    state: RunState,
    recipe: ClassRecipe,
    data: ClassificationData,
    metadata: ModelMetadata,
    skipped: dict[str, str],
) -> dict[str, Any]:
    """Score the best weights as they were written."""
    best = copy.deepcopy(model)
    tensors, _ = read_checkpoint(folder / BEST)
    best.load_state_dict(tensors, strict=False)
    scores: dict[str, float | None] = {"top1": None, "top5": None}
    if validator is not None:
        scores = validator.scores(best, module.device)
    deployed = fold(best.cpu())
    speed = module.images_per_second
    return {
        **scores,
        "epochs": state.epochs_done,
        "best_epoch": state.best_epoch,
        "images_per_second": None if speed is None else round(speed, 1),
        "training_seconds": round(state.seconds, 1),
        "model": metadata.model,
        "branches": recipe.branches,
        "params": count_parameters(best),
        "params_deployed": count_parameters(deployed),
        "macs_deployed": try_count_macs(deployed, recipe.imgsz, metadata.in_channels),
        "imgsz": recipe.imgsz,
        "teacher": recipe.teacher,
        "seed": recipe.seed,
        "data": data.root.name,
        "classes": len(data.class_names),
        "pictures": {split: len(images) for split, images in data.splits.items()},
        "pictures_skipped": skipped,
    }

"""The training of a classifier, from its first epoch to its metrics."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from ghostyolo.data.class_transforms import training_transform
from ghostyolo.data.classification import ClassDataset, KeySampler, collate
from ghostyolo.data.labelled import ClassificationData, digest
from ghostyolo.data.sampler import EpochSampler
from ghostyolo.files import write_json
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.count import count_parameters, try_count_macs
from ghostyolo.models.image_classifier import ImageClassifier
from ghostyolo.nn.reparam import fold
from ghostyolo.train.classification.logit_cache import LogitCache, open_cache
from ghostyolo.train.classification.module import ClassModule
from ghostyolo.train.classification.teacher import Teacher, build_teacher, teacher_digest
from ghostyolo.train.classification.validation import ClassValidator
from ghostyolo.train.distil.cost import describe_cost
from ghostyolo.train.loop import (
    Finished,
    Place,
    Task,
    TrainResult,
    describe_run,
    main_console,
    report_skipped,
    run_loop,
)
from ghostyolo.train.process import is_main_process
from ghostyolo.train.recipe import ClassRecipe
from ghostyolo.train.schedule import plan_class_schedule

RESULTS = "metrics.json"
log = logging.getLogger(__name__)


def fit_classifier(
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
    """Train ``model`` in place; write weights, resume state, config and metrics to ``out``.

    Args:
        metadata: for the checkpoints.
        data: its "train" split is learned; its "val" split, where there is one, is validated on.
        resume: go on with the run in ``out`` after its last finished epoch.
        place: where the data was read from, for the config; None: its folder.

    Raises:
        ConfigError: an impossible recipe, another one than the resumed run's, a teacher or cache that does not fit.
        DataError: no picture can be read.
        TrainingError: the folder is taken, nothing to resume, or the loss is not a number.
        OutputError: a result cannot be written.
        KeyboardInterrupt: Ctrl-C. SIGTERM exits with status 143. Resume goes on after the last epoch.
    """
    console = main_console(console)
    channels, records = metadata.in_channels, data.splits["train"]
    transform = training_transform(recipe.augment, recipe.imgsz)
    taught_by = teacher_digest(recipe)
    teacher, cache = _teaching(recipe, data, channels, taught_by, console, is_main_process())
    validator = None
    if data.splits.get("val"):
        validator = ClassValidator(data.splits["val"], recipe, channels, data.pixel_range)
    task = Task(
        recipe,
        metadata,
        describe_run(metadata, place or os.path.abspath(data.root), data.splits, digest(records), taught_by),
        records,
        ClassDataset(
            records,
            transform,
            seed=recipe.seed,
            channels=channels,
            cache=recipe.cache,
            pixel_range=data.pixel_range,
        ),
        collate,
        validator,
        lambda rank, world_size: KeySampler(
            EpochSampler(len(records), seed=recipe.seed, rank=rank, world_size=world_size)
        ),
        drop_last=True,
    )

    def make_module(place: Place) -> ClassModule:
        schedule = plan_class_schedule(recipe, steps_per_epoch=place.steps_per_epoch, world_size=place.world_size)
        logits = None if cache is None else LogitCache(cache, place.rank, place.world_size)
        return ClassModule(model, recipe, schedule, place.nan_guard, teacher, logits)

    finished = run_loop(task, make_module, out, resume=resume, console=console)
    metrics: dict[str, Any] = {}
    if is_main_process():
        skipped = {str(path): reason for path, reason in (validator.skipped if validator else [])}
        skipped |= finished.state.broken
        metrics = _measure(finished, validator, recipe, data, metadata, skipped)
        write_json(finished.folder / RESULTS, metrics)
        report_skipped(skipped, console)
    return finished.result(metrics)


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


def _measure(
    finished: Finished,
    validator: ClassValidator | None,
    recipe: ClassRecipe,
    data: ClassificationData,
    metadata: ModelMetadata,
    skipped: dict[str, str],
) -> dict[str, Any]:
    """Score the best weights as they were written."""
    module, state, best = finished.module, finished.state, finished.best_network()
    assert isinstance(module, ClassModule)
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

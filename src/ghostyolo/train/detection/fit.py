"""The training of a detector, from its first epoch to its pictures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from rich.console import Console
from torch import nn

from ghostyolo.data.balance import class_weights, repeat_factors
from ghostyolo.data.dataset import DetectionDataset, collate
from ghostyolo.data.memory import free_memory
from ghostyolo.data.records import DetectionData
from ghostyolo.data.sampler import EpochSampler, make_sampler
from ghostyolo.data.split import SPLIT_FOLDER, lists_of
from ghostyolo.errors import ConfigError, DataError
from ghostyolo.evaluate import Metrics
from ghostyolo.losses.registry import Criterion, build_criterion, takes_known
from ghostyolo.metadata import ModelMetadata, check_imgsz
from ghostyolo.train.detection.module import DetectionModule
from ghostyolo.train.detection.validation import Validator, all_skipped, score_best
from ghostyolo.train.distil.cost import TeacherShare
from ghostyolo.train.distil.distiller import build_distiller
from ghostyolo.train.loop import (
    Place,
    Task,
    TrainResult,
    check_device,
    describe_run,
    main_console,
    report_skipped,
    run_loop,
)
from ghostyolo.train.process import is_main_process
from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.run_folder import records_digest
from ghostyolo.train.schedule import Schedule, plan_schedule


def fit(
    model: Any,
    metadata: ModelMetadata,
    data: DetectionData,
    recipe: TrainRecipe,
    out: str | Path,
    *,
    resume: bool = False,
    learns_anew: bool = False,
    criterion: Criterion | None = None,
    files: Mapping[str, str] | None = None,
    callbacks: Sequence[Callback] = (),
    console: Console | None = None,
) -> TrainResult[Metrics | None]:
    """Train ``model`` in place; write weights, resume state, config, logs and pictures to ``out``.

    Args:
        model: a :class:`DetectionModel`, fresh or pretrained; or, with a criterion of its own, any module that gives
            in training what the criterion takes, else boxes and scores.
        metadata: for the checkpoints.
        data: its "train" split is learned; its "val" split, where there is one, is validated on.
        recipe: how.
        out: folder of the run.
        resume: go on with the run in ``out`` after its last finished epoch.
        learns_anew: the weights know nothing of some class: "auto" then takes the learning rate of random weights.
        criterion: default: the one that is registered for the model's head.
        files: text files by name that are written beside the config of a run that begins.
        callbacks: Lightning's, beside those of every run.
        console: where progress is shown.

    Raises:
        ConfigError: an impossible recipe, one that differs from the resumed run's, or a teacher that does not fit.
        WeightsError: a teacher that cannot be found or read.
        DataError: no training pictures, or none that can be read.
        TrainingError: the folder is taken, nothing to resume, or the loss is not a number.
        OutputError: a result cannot be written.
        KeyboardInterrupt: Ctrl-C. SIGTERM exits with status 143. Resume goes on after the last epoch.
    """
    check_run(metadata, data, recipe)
    criterion = criterion or build_criterion(model.config.head.type, model.head)
    if not takes_known(criterion) and any(record.known is not None for record in data.splits["train"]):
        raise ConfigError(
            f"'{metadata.model}' learns objectness, so it would take for background what a data set does not label: "
            "take a network whose head has none (dfl, light, end2end), or data sets of the same classes, joined"
        )
    _check_batch_of_one(model, recipe, metadata.in_channels)
    console = main_console(console)
    distiller, taught_by = build_distiller(model, metadata, recipe, console)
    records = data.splits["train"]
    validator = None
    if data.splits.get("val"):
        keep = recipe.cache == "ram"
        validator = Validator(data.splits["val"], data.class_names, metadata, batch=recipe.val_batch, cache=keep)
    place = data.sources or data.place
    dataset = DetectionDataset(records, recipe.imgsz, channels=metadata.in_channels, cache=recipe.cache)
    if recipe.cache == "ram":
        _limit_cache(dataset, recipe.devices, console)
    split_files = {f"{SPLIT_FOLDER}/{name}": text for name, text in lists_of(data).items()} if data.made_split else {}
    task = Task(
        recipe,
        metadata,
        describe_run(metadata, place, data.splits, records_digest(records), taught_by),
        records,
        dataset,
        collate,
        validator,
        training_sampler(data, recipe),
        files={**(files or {}), **split_files},
    )

    def make_module(place: Place) -> DetectionModule:
        schedule = make_schedule(metadata, data, recipe, learns_anew, place.steps_per_epoch, place.world_size)
        return DetectionModule(
            model, criterion, recipe, schedule, place.nan_guard, distiller, _weights_of_classes(data, recipe)
        )

    share: list[Callback] = [TeacherShare(console, distiller.teacher, recipe.imgsz)] if distiller is not None else []
    finished = run_loop(task, make_module, out, resume=resume, console=console, callbacks=[*share, *callbacks])
    metrics = None
    if is_main_process():
        metrics = score_best(finished, validator, recipe, data, console)
        report_skipped(all_skipped(data, finished.state, validator), console)
    return finished.result(metrics)


def training_sampler(data: DetectionData, recipe: TrainRecipe) -> Callable[..., EpochSampler]:
    """What makes the sampler of the training split, for a rank of so many."""
    records, threshold = data.splits["train"], recipe.sampling.repeat_threshold
    return partial(
        make_sampler,
        [record.source for record in records],
        recipe.set_temperature,
        seed=recipe.seed,
        repeats=repeat_factors(records, len(data.class_names), threshold) if threshold else None,
    )


def _weights_of_classes(data: DetectionData, recipe: TrainRecipe) -> torch.Tensor | None:
    power = recipe.sampling.class_weights
    return torch.from_numpy(class_weights(data.splits["train"], len(data.class_names), power)) if power else None


def make_schedule(
    metadata: ModelMetadata,
    data: DetectionData,
    recipe: TrainRecipe,
    learns_anew: bool,
    steps_per_epoch: int,
    world_size: int = 1,
) -> Schedule:
    """The schedule of a run; see :func:`ghostyolo.train.schedule.plan_schedule`.

    Args:
        learns_anew: the weights know nothing of some class.
    """
    return plan_schedule(
        recipe,
        num_classes=len(data.class_names),
        steps_per_epoch=steps_per_epoch,
        world_size=world_size,
        from_scratch=learns_anew or _from_scratch(metadata, recipe),
    )


def _from_scratch(metadata: ModelMetadata, recipe: TrainRecipe) -> bool:
    """Whether all weights are random: none were given, and the backbone did not fetch its own."""
    backbone = metadata.config.get("backbone", {})
    return not (recipe.weights or recipe.backbone_weights or backbone.get("params", {}).get("pretrained"))


def _check_batch_of_one(model: nn.Module, recipe: TrainRecipe, channels: int) -> None:
    """Refuse batches of one picture where a batch norm sees a map of one cell."""
    if recipe.batch > 1:
        return
    try:
        with torch.no_grad():
            copy.deepcopy(model).cpu().train()(torch.zeros(1, channels, recipe.imgsz, recipe.imgsz))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            f"batch 1 at imgsz {recipe.imgsz}: a batch norm of this network would see one value of each channel; "
            "give batch 2 or more, or a larger imgsz"
        ) from error


def _limit_cache(dataset: DetectionDataset, copies: int, console: Console) -> None:
    """Let the pictures of all processes of this machine take half of the free memory, and say what that means."""
    free, needed = free_memory(), dataset.cache_bytes
    if free is None or needed * copies <= free // 2:
        return
    kept = dataset.limit_cache(free // 2 // copies)
    line = (
        f"cache: {kept} of {len(dataset)} pictures are kept: all would take {needed * copies / 2**30:.1f} GiB and "
        f"{free / 2**30:.1f} GiB are free; the others are read in every epoch (--workers N reads several at a time)"
    )
    console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def check_run(metadata: ModelMetadata, data: DetectionData, recipe: TrainRecipe) -> None:
    """Refuse what cannot be trained, before anything is written.

    Raises:
        ConfigError: image side, device or classes do not fit.
        DataError: there is nothing to train on.
    """
    if not data.splits.get("train"):
        raise DataError(f"{data.root} has no training pictures: its splits are {', '.join(data.splits) or 'none'}")
    if metadata.class_names != data.class_names:
        raise ConfigError(f"the model has classes {metadata.class_names}, the data {data.class_names}")
    check_imgsz(recipe.imgsz, metadata.stride)
    check_device(recipe)

"""Train a detector from its first epoch, or from the last finished one, to its result pictures."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from ghostyolo.data.dataset import DetectionDataset, collate
from ghostyolo.data.memory import free_memory
from ghostyolo.data.records import DetectionData
from ghostyolo.data.sampler import EpochSampler, EvenBatches, make_sampler
from ghostyolo.errors import ConfigError, DataError
from ghostyolo.evaluate import Metrics
from ghostyolo.losses.registry import Criterion, build_criterion, takes_known
from ghostyolo.metadata import ModelMetadata, check_imgsz
from ghostyolo.runtime.engines import parse_device
from ghostyolo.train.detection.module import DetectionModule
from ghostyolo.train.detection.results import all_skipped, score_best
from ghostyolo.train.detection.validation import Validator
from ghostyolo.train.distil.cost import TeacherShare
from ghostyolo.train.distil.distiller import build_distiller
from ghostyolo.train.epoch_end import BEST, LAST, RESUME, EpochEnd
from ghostyolo.train.nan_guard import NanGuard
from ghostyolo.train.process import (
    SIGTERM_STATUS,
    StopAtSigterm,
    is_main_process,
    keep_freed_memory,
    keep_interrupt_handler,
)
from ghostyolo.train.progress import ProgressReport
from ghostyolo.train.recipe import Recipe, TrainRecipe
from ghostyolo.train.run_folder import begin, describe_run
from ghostyolo.train.schedule import plan_schedule
from ghostyolo.train.state import AtomicCheckpointIO, RunState

log = logging.getLogger(__name__)

# Rank 0 validates alone; the others wait for it at a barrier as long as this.
_BARRIER_LIMIT = timedelta(hours=6)


@dataclass(frozen=True)
class TrainResult:
    """What a run left behind.

    Attributes:
        folder: of the run; ``best`` and ``last`` are checkpoints in it.
        metrics: of the best weights on the val split; None where there is none, and on ranks other than 0.
        best_epoch: the epoch of the best weights, from 1; 0 without validation.
        rows: one a finished epoch, as in metrics.csv.
        broken: training pictures that could not be read, path -> reason.
        seconds: spent in epochs, over all resumes.
        stopped_early: patience ran out.
    """

    folder: Path
    best: Path
    last: Path
    metrics: Metrics | None
    best_epoch: int
    rows: list[dict[str, Any]] = field(repr=False)
    broken: dict[str, str] = field(repr=False)
    seconds: float
    stopped_early: bool


def fit(
    model: Any,
    metadata: ModelMetadata,
    data: DetectionData,
    recipe: TrainRecipe,
    out: str | Path,
    *,
    resume: bool = False,
    origin: Mapping[str, str | None] | None = None,
    criterion: Criterion | None = None,
    console: Console | None = None,
) -> TrainResult:
    """Train ``model`` in place; write weights, resume state, config, logs and pictures to ``out``.

    Args:
        model: a :class:`DetectionModel`, fresh or pretrained; or, with a criterion of its own, any module that gives
            in training what the criterion takes, else boxes and scores.
        metadata: for the checkpoints.
        data: its "train" split is learned; its "val" split, where there is one, is validated on.
        recipe: how.
        out: folder of the run.
        resume: go on with the run in ``out`` after its last finished epoch.
        origin: where weights came from, by kind; written to the config and compared on resume.
        criterion: default: the one that is registered for the model's head.
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
    main = is_main_process()
    console = (console or Console()) if main else Console(quiet=True)
    distiller, taught_by = build_distiller(model, metadata, recipe, console)
    run = describe_run(metadata, data, origin, taught_by)
    folder = begin(out, recipe, run, resume=resume) if main else Path(out)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)

    keep_freed_memory()
    records = data.splits["train"]
    dataset = DetectionDataset(records, recipe.imgsz, channels=metadata.in_channels, cache=recipe.cache)
    if recipe.cache == "ram":
        _limit_cache(dataset, recipe.devices, console)
    state = RunState()
    with quiet_lightning():
        trainer = make_trainer(recipe, folder)
        sampler = make_sampler(
            [record.source for record in records],
            recipe.set_temperature,
            seed=recipe.seed,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        loader = _make_loader(dataset, sampler, recipe, on_cuda=trainer.strategy.root_device.type == "cuda")
        schedule = plan_schedule(
            recipe,
            num_classes=len(data.class_names),
            steps_per_epoch=len(loader),
            world_size=trainer.world_size,
            from_scratch=_from_scratch(metadata, origin),
        )
        validator = None
        if data.splits.get("val"):
            validator = Validator(
                data.splits["val"],
                data.class_names,
                metadata,
                batch=recipe.val_batch,
                cache=recipe.cache == "ram",
            )
        elif main:
            log.warning("%s has no val split: nothing is validated, the last weights count as the best", data.root)
        guard = NanGuard(records, folder, trainer.global_rank, trainer.world_size)
        module = DetectionModule(model, criterion, recipe, schedule, guard, distiller)
        progress = ProgressReport(console, state, recipe.epochs, len(loader))
        epoch_end = EpochEnd(folder, metadata, recipe, state, progress, dataset, validator)
        trainer.callbacks += [progress, epoch_end, StopAtSigterm()]
        if distiller is not None:
            trainer.callbacks.append(TeacherShare(console, distiller.teacher, recipe.imgsz))
        run_trainer(trainer, module, loader, folder / RESUME if resume else None)

    metrics = None
    if main:
        metrics = score_best(module.ema.model, validator, module.device, folder, state, recipe, data, console)
        report_skipped(all_skipped(data, state, validator), console)
    return TrainResult(
        folder=folder,
        best=folder / BEST,
        last=folder / LAST,
        metrics=metrics,
        best_epoch=state.best_epoch,
        rows=state.rows,
        broken=state.broken,
        seconds=state.seconds,
        stopped_early=state.epochs_done < recipe.epochs,
    )


def _from_scratch(metadata: ModelMetadata, origin: Mapping[str, str | None] | None) -> bool:
    """Whether all weights are random: none were given, and the backbone did not fetch its own."""
    backbone = metadata.config.get("backbone", {})
    return not any((origin or {}).values()) and not backbone.get("params", {}).get("pretrained")


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


def check_device(recipe: Recipe) -> None:
    """Refuse CUDA devices that are not there.

    Raises:
        ConfigError: see above.
    """
    if recipe.device != "auto":
        kind, number = parse_device(recipe.device)
        if kind == "cuda" and max(number + 1, recipe.devices) > torch.cuda.device_count():
            raise ConfigError(
                f"device {recipe.device}, {recipe.devices} of them: torch sees {torch.cuda.device_count()} "
                "CUDA devices; use --device cpu"
            )


def make_trainer(recipe: Recipe, folder: Path) -> Trainer:
    """Lightning's trainer with our files and our progress in the place of its own."""
    device = recipe.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, number = parse_device(device)
    parallel = recipe.devices * recipe.num_nodes > 1
    logger: Any = False
    if recipe.tensorboard:
        logger = TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)
    return Trainer(
        accelerator=kind,
        devices=[number] if kind == "cuda" and not parallel else recipe.devices,
        num_nodes=recipe.num_nodes,
        strategy=DDPStrategy(timeout=_BARRIER_LIMIT) if parallel else "auto",
        sync_batchnorm=recipe.sync_batchnorm and parallel,
        precision={"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}[recipe.precision],
        # The CPU is deterministic anyway, and torch's mode would make it fill all fresh memory first.
        deterministic="warn" if recipe.deterministic and kind == "cuda" else None,
        max_epochs=recipe.epochs,
        gradient_clip_val=recipe.gradient_clip or None,
        logger=logger,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        log_every_n_steps=1_000_000,
        use_distributed_sampler=False,
    )


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


def _make_loader(
    dataset: DetectionDataset, sampler: EpochSampler, recipe: TrainRecipe, on_cuda: bool
) -> DataLoader[Any]:
    if recipe.workers and recipe.cache == "ram":
        for _ in dataset.preload():  # before the workers fork, so that they share one cache
            pass
    return DataLoader(
        dataset,
        batch_sampler=EvenBatches(sampler, recipe.batch),
        collate_fn=collate,
        num_workers=recipe.workers,
        persistent_workers=recipe.workers > 0,
        pin_memory=on_cuda,
    )


def run_trainer(trainer: Trainer, module: LightningModule, loader: DataLoader[Any], state_file: Path | None) -> None:
    """Train, from the resume state where there is one.

    Raises:
        KeyboardInterrupt: Ctrl-C. SIGTERM exits with status 143.
    """
    checkpoint = str(state_file) if state_file is not None and state_file.is_file() else None
    try:
        with keep_interrupt_handler():
            trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as stop:
        if stop.code == SIGTERM_STATUS:
            log.warning("stopped by SIGTERM; --resume goes on after the last finished epoch")
            raise
        # Lightning turns Ctrl-C into an exit of its own.
        log.warning("interrupted; --resume goes on after the last finished epoch")
        raise KeyboardInterrupt from stop


def report_skipped(skipped: dict[str, str], console: Console) -> None:
    """Say which pictures were left out, while the data set was read, trained on or validated on."""
    if skipped:
        names = ", ".join(Path(path).name for path in list(skipped)[:5]) + (", ..." if len(skipped) > 5 else "")
        line = f"skipped {len(skipped)} pictures that cannot be read: {names} (all of them in results.json)"
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's notes and advice, which are for its own users, off ours."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=r".*does not have a deterministic implementation.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

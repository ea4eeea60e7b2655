"""The loop that trains detectors and classifiers."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from ghostyolo.data.sampler import EvenBatches
from ghostyolo.errors import ConfigError, short_list
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.count import count_parameters
from ghostyolo.models.weights import read_checkpoint
from ghostyolo.runtime.engines import parse_device
from ghostyolo.train.epoch_end import BEST, LAST, RESUME, EpochEnd, Pictures, Scorer
from ghostyolo.train.module import TrainingModule
from ghostyolo.train.nan_guard import NanGuard
from ghostyolo.train.process import (
    SIGTERM_STATUS,
    StopAtSigterm,
    is_main_process,
    keep_freed_memory,
    keep_interrupt_handler,
)
from ghostyolo.train.progress import ProgressReport
from ghostyolo.train.recipe import Recipe
from ghostyolo.train.run_folder import begin, hold
from ghostyolo.train.state import AtomicCheckpointIO, RunState
from ghostyolo.train.threads import Threads, choose_threads

log = logging.getLogger(__name__)
M = TypeVar("M")

# Rank 0 validates alone; the others wait for it at a barrier as long as this.
_BARRIER_LIMIT = timedelta(hours=6)


@dataclass(frozen=True)
class TrainResult(Generic[M]):
    """What a run left behind.

    Attributes:
        folder: of the run; ``best`` and ``last`` are checkpoints in it.
        metrics: of the best weights on the validation split: for a detector :class:`ghostyolo.evaluate.Metrics`, None
            where there is no split and on ranks other than 0; for a classifier what ``metrics.json`` holds.
        best_epoch: the epoch of the best weights, from 1; 0 without validation.
        rows: one a finished epoch, as in metrics.csv.
        broken: training pictures that could not be read, path -> reason.
        seconds: spent in epochs, over all resumes.
        stopped_early: patience ran out.
    """

    folder: Path
    best: Path
    last: Path
    metrics: M
    best_epoch: int
    rows: list[dict[str, Any]] = field(repr=False)
    broken: dict[str, str] = field(repr=False)
    seconds: float
    stopped_early: bool


@dataclass(frozen=True)
class Task:
    """What is learned, and from what.

    Attributes:
        recipe: how.
        metadata: for the checkpoints.
        run: describes data and network in the config, by which a resume is compared.
        records: the training split.
        dataset: its pictures, whose items ``collate`` makes a batch of.
        collate: items to a batch.
        sampler: of the data set's keys, for a rank of so many.
        drop_last: leave out a last batch that is not full, which would disturb batch norms.
        files: text files by name that are written beside the config of a run that begins.
        validator: scores the network after an epoch; None: the last weights count as the best.
    """

    recipe: Recipe
    metadata: ModelMetadata
    run: dict[str, Any]
    records: Sequence[Any]
    dataset: Pictures
    collate: Callable[[Any], Any]
    validator: Scorer | None
    sampler: Callable[..., Any]
    drop_last: bool = False
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a training module runs, beside others.

    Attributes:
        steps_per_epoch: batches of one device.
        rank, world_size: of this process.
        nan_guard: stops the run at a loss that is not finite.
    """

    steps_per_epoch: int
    rank: int
    world_size: int
    nan_guard: NanGuard


@dataclass(frozen=True)
class Finished:
    """A run after its last epoch."""

    folder: Path
    module: TrainingModule
    state: RunState
    epochs: int

    def best_network(self) -> nn.Module:
        """The network with the best weights, as they were written."""
        network = copy.deepcopy(self.module.ema.model)
        tensors, _ = read_checkpoint(self.folder / BEST)
        network.load_state_dict(tensors, strict=False)
        return network

    def result(self, metrics: M) -> TrainResult[M]:
        """The result with the metrics of the best weights."""
        return TrainResult(
            folder=self.folder,
            best=self.folder / BEST,
            last=self.folder / LAST,
            metrics=metrics,
            best_epoch=self.state.best_epoch,
            rows=self.state.rows,
            broken=self.state.broken,
            seconds=self.state.seconds,
            stopped_early=self.state.epochs_done < self.epochs,
        )


def run_loop(
    task: Task,
    make_module: Callable[[Place], TrainingModule],
    out: str | Path,
    *,
    resume: bool,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> Finished:
    """Train, and write weights, resume state, config and logs to ``out``.

    Args:
        make_module: the network with its loss and optimiser, made when the length of an epoch is known.
        resume: go on with the run in ``out`` after its last finished epoch.
        callbacks: Lightning's, beside those of every run.

    Raises:
        ConfigError: the recipe differs from the resumed run's.
        DataError: none of the training pictures can be read.
        TrainingError: the folder is taken or still trained, nothing to resume, or the loss is not a number.
        OutputError: a result cannot be written.
        KeyboardInterrupt: Ctrl-C. SIGTERM exits with status 143. Resume goes on after the last epoch.
    """
    recipe = task.recipe
    main = is_main_process()
    folder = begin(out, recipe, task.run, resume=resume, files=task.files) if main else Path(out)
    with hold(folder) if main else nullcontext():
        return _train(task, make_module, folder, resume=resume, console=console, callbacks=callbacks)


def _train(
    task: Task,
    make_module: Callable[[Place], TrainingModule],
    folder: Path,
    *,
    resume: bool,
    console: Console,
    callbacks: Sequence[Callback],
) -> Finished:
    recipe, main = task.recipe, is_main_process()
    threads = choose_threads(recipe.threads)
    torch.set_num_threads(threads.count)
    keep_freed_memory()
    if task.validator is None and main:
        log.warning("%s has no val split: nothing is validated, the last weights count as the best", task.run["data"])
    state = RunState()
    with _quiet_lightning():
        trainer = _make_trainer(recipe, folder)
        rank, world_size = trainer.global_rank, trainer.world_size
        loader = _make_loader(task, rank, world_size, on_cuda=trainer.strategy.root_device.type == "cuda")
        module = make_module(Place(len(loader), rank, world_size, NanGuard(task.records, folder, rank, world_size)))
        progress = ProgressReport(console, state, recipe.epochs, len(loader))
        for line in (_start_line(task.metadata, module, trainer, threads), module.describe()):
            if line:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        epoch_end = EpochEnd(folder, task.metadata, recipe, state, progress, task.dataset, task.validator)
        trainer.callbacks += [progress, epoch_end, StopAtSigterm(), *callbacks]
        _run_trainer(trainer, module, loader, folder / RESUME if resume else None)
    return Finished(folder, module, state, recipe.epochs)


def _start_line(metadata: ModelMetadata, module: TrainingModule, trainer: Trainer, threads: Threads) -> str:
    """What is trained, and where."""
    names = metadata.class_names
    classes = f"class {names[0]}" if len(names) == 1 else f"{len(names)} classes {short_list(names)}"
    device = trainer.strategy.root_device
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    several = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
    millions = count_parameters(module.model) / 1e6
    return f"trains {metadata.model} ({millions:.2f} M parameters) for {classes} on {several}{kind}, {threads}"


def describe_run(
    metadata: ModelMetadata,
    place: str | list[str],
    splits: Mapping[str, Sequence[Any]],
    labels_digest: str,
    teacher: str | None,
) -> dict[str, Any]:
    """What a run learns from and into, beside its recipe; a resume compares it.

    Args:
        place: of the data.
        labels_digest: of the training split's labels.
        teacher: its file's name and digest.
    """
    return {
        "model": metadata.model,
        "network": metadata.config,
        "class_names": metadata.class_names,
        "data": place,
        "pictures": {split: len(records) for split, records in splits.items()},
        "labels_digest": labels_digest,
        "teacher": teacher,
    }


def main_console(console: Console | None) -> Console:
    """The console of the process that prints; a silent one in the others."""
    return (console or Console()) if is_main_process() else Console(quiet=True)


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


def report_skipped(skipped: dict[str, str], console: Console) -> None:
    """Say which pictures could not be read and were left out."""
    if skipped:
        names = ", ".join(Path(path).name for path in list(skipped)[:5]) + (", ..." if len(skipped) > 5 else "")
        line = f"skipped {len(skipped)} pictures that cannot be read: {names} (all of them in results.json)"
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _make_trainer(recipe: Recipe, folder: Path) -> Trainer:
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


def _make_loader(task: Task, rank: int, world_size: int, on_cuda: bool) -> DataLoader[Any]:
    recipe = task.recipe
    order = task.sampler(rank=rank, world_size=world_size)
    if recipe.workers and recipe.cache == "ram":
        task.dataset.preload()  # before the workers fork, so that they share one cache
    batches: dict[str, Any] = {"batch_sampler": EvenBatches(order, recipe.batch)}
    if task.drop_last:
        batches = {"batch_size": recipe.batch, "sampler": order, "drop_last": len(order) >= recipe.batch}
    return DataLoader(
        task.dataset,  # type: ignore[arg-type]  # a Dataset by its methods
        collate_fn=task.collate,
        num_workers=recipe.workers,
        persistent_workers=recipe.workers > 0,
        pin_memory=on_cuda,
        **batches,
    )


def _run_trainer(trainer: Trainer, module: TrainingModule, loader: DataLoader[Any], state_file: Path | None) -> None:
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


@contextmanager
def _quiet_lightning() -> Iterator[None]:
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

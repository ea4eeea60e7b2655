"""The end of an epoch: validate, log, save, maybe stop early.

The resume state is written last. Killed before that, a run repeats the epoch and gets the same files again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors import SafetensorError
from torch import nn

from ghostyolo.errors import DataError, OutputError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.weights import save_checkpoint
from ghostyolo.train.module import TrainingModule
from ghostyolo.train.progress import ProgressReport
from ghostyolo.train.recipe import Recipe
from ghostyolo.train.state import Row, RunState, Stopwatch

BEST, LAST, RESUME, METRICS = "best.safetensors", "last.safetensors", "resume.ckpt", "metrics.csv"


class Pictures(Protocol):
    """A training split that knows which of its pictures could not be read."""

    @property
    def records(self) -> Sequence[Any]: ...

    @property
    def broken(self) -> Mapping[Path, str]: ...

    def preload(self) -> None:
        """Read every picture into the cache."""
        ...

    def report(self, batch: Any) -> None:
        """Enter the missing pictures of a batch, which a worker process may have met."""
        ...


class Scorer(Protocol):
    """Scores a network on the validation split; the best weights have the highest ``main_score``."""

    main_score: str

    def scores(self, model: nn.Module, device: torch.device) -> dict[str, float | None]: ...


class EpochEnd(Callback):
    """Rank 0 validates and writes; the other ranks wait for its verdict on stopping.

    Args:
        folder: of the run.
        metadata: written into the checkpoints, with the scores.
        recipe, state, progress: of the run.
        dataset: the training pictures, asked for broken ones.
        validator: None where there is nothing to validate on.
    """

    def __init__(
        self,
        folder: Path,
        metadata: ModelMetadata,
        recipe: Recipe,
        state: RunState,
        progress: ProgressReport,
        dataset: Pictures,
        validator: Scorer | None,
    ) -> None:
        self.folder, self.metadata, self.recipe, self.state = folder, metadata, recipe, state
        self.progress, self.dataset, self.validator = progress, dataset, validator
        self._watch = Stopwatch()

    def state_dict(self) -> dict[str, Any]:
        return self.state.to_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # The progress report holds the same object, so it is filled, not replaced.
        vars(self.state).update(state_dict)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A run that was resumed after it had stopped early has nothing left to do.
        if self.state.out_of_patience(self.recipe.patience):
            trainer.should_stop = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch = Stopwatch()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.dataset.report(batch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        pl_module.nan_guard.flush()
        losses = pl_module.mean_losses()
        self._gather_broken(trainer.world_size)
        self._check_readable()
        stop = False
        if trainer.is_global_zero:
            self._finish(trainer, pl_module, losses)
            stop = self.state.out_of_patience(self.recipe.patience)
        stop = trainer.strategy.broadcast(stop)
        trainer.save_checkpoint(self.folder / RESUME, weights_only=False)
        trainer.should_stop = trainer.should_stop or stop

    def _finish(self, trainer: Trainer, module: TrainingModule, losses: dict[str, float]) -> None:
        row: Row = {"seconds": 0.0, "train/loss": sum(losses.values())}
        row |= {f"train/{name}": value for name, value in losses.items()}
        scores = self._validate(trainer, module)
        row |= {f"val/{name}": value for name, value in scores.items()}
        step = module.steps_per_epoch * (trainer.current_epoch + 1)
        row["lr"] = module.lr_at(step - 1)
        row["seconds"] = self._watch.seconds
        score = scores.get(self.validator.main_score) if self.validator is not None else None
        better = self.state.finish_epoch(row, score, validated=bool(scores))

        written = self.metadata.model_copy(
            update={"metrics": {**self.metadata.metrics, **scores, "epoch": self.state.epochs_done}}
        )
        write_weights(module.ema.model, written, self.folder / LAST)
        if better or self.validator is None:
            write_weights(module.ema.model, written, self.folder / BEST)
        self.state.write_csv(self.folder / METRICS)
        numbers = {name: value for name, value in row.items() if value is not None}
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=self.state.epochs_done)
        self.progress.finish_epoch()

    def _gather_broken(self, world_size: int) -> None:
        broken = [{str(path): reason for path, reason in self.dataset.broken.items()}]
        if world_size > 1:
            broken *= world_size
            torch.distributed.all_gather_object(broken, dict(broken[0]))
        for part in broken:
            self.state.broken |= part

    def _check_readable(self) -> None:
        broken = self.state.broken
        if len(broken) == len(self.dataset.records):
            reason = next(iter(broken.values()))
            raise DataError(f"none of the {len(broken)} training pictures can be read; the first: {reason}")

    def _validate(self, trainer: Trainer, module: TrainingModule) -> dict[str, float | None]:
        epoch = trainer.current_epoch + 1
        if self.validator is None or (epoch % self.recipe.val_every and epoch != self.recipe.epochs):
            return {}
        return self.validator.scores(module.ema.model, module.device)


def write_weights(model: Any, metadata: ModelMetadata, path: Path) -> None:
    """Save a checkpoint.

    Raises:
        OutputError: the disk is full or may not be written.
    """
    try:
        save_checkpoint(model, metadata, path)
    except SafetensorError as error:
        raise OutputError(f"cannot write {path}: {error}; is the disk full?") from error

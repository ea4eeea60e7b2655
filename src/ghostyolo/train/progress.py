"""Progress of a training: a bar in a terminal, else lines.

At 80 columns the bar has the epoch, what is left, AP, learning rate and memory; wider windows have the losses too.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ghostyolo.data.memory import used_memory
from ghostyolo.train.module import TrainingModule
from ghostyolo.train.state import Row, RunState

_SHOWN_SCORES = (("AP", "AP50"), ("top1", "top5"))
_SHOWN_EVERY = 10  # steps; reading a loss makes the host wait for the device
_WIDE = 120  # columns from which on losses have room beside the rest


class ProgressReport(Callback):
    """A bar over all steps, with times, losses and scores."""

    def __init__(self, console: Console, state: RunState, epochs: int, steps_per_epoch: int) -> None:
        self.console, self.state, self.epochs, self.steps_per_epoch = console, state, epochs, steps_per_epoch
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not (trainer.is_global_zero and self.console.is_terminal):
            return
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[accuracy]}"),
            TextColumn("lr {task.fields[lr]} {task.fields[memory]}"),
            *([TextColumn("{task.fields[losses]}")] if self.console.width >= _WIDE else []),
            console=self.console,
            transient=True,
            refresh_per_second=2,
        )
        done = trainer.current_epoch * self.steps_per_epoch
        self._task = self._bar.add_task(
            "", total=self.epochs * self.steps_per_epoch, completed=done, epoch=trainer.current_epoch + 1,
            epochs=self.epochs, losses="", accuracy=accuracy_text(self.state), lr="", memory="",
        )  # fmt: skip
        self._bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._bar:
            self._bar.update(self._task, epoch=trainer.current_epoch + 1)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._bar:
            return
        self._bar.advance(self._task)
        if batch_idx % _SHOWN_EVERY == 0 and isinstance(pl_module, TrainingModule):
            *sums, count = pl_module.loss_sums.tolist()
            parts = (
                f"{name} {value / max(count, 1):.3f}" for name, value in zip(pl_module.loss_parts, sums, strict=True)
            )
            rate = pl_module.lr_at(pl_module.current_epoch * pl_module.steps_per_epoch + batch_idx)
            memory = memory_text(pl_module.device)
            self._bar.update(self._task, losses=" ".join(parts), lr=f"{rate:.1e}", memory=memory)

    def finish_epoch(self) -> None:
        """Show the epoch that the state was just given."""
        if self._bar:
            self._bar.update(self._task, accuracy=accuracy_text(self.state))
        line = epoch_line(self.state, self.epochs)
        if not self._bar:  # the bar has these
            line += f"  {left_text(self.state, self.epochs)}  lr {self.state.rows[-1]['lr']:.1e}"
        self.console.print(line, highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None


def left_text(state: RunState, epochs: int) -> str:
    """Say how long the rest will take, as the last epochs took."""
    latest = [float(row["seconds"] or 0) for row in state.rows[-5:]]
    seconds = round((epochs - state.epochs_done) * sum(latest) / max(len(latest), 1))
    return f"left {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def memory_text(device: torch.device) -> str:
    """Say how much memory the training holds: of a GPU, else of this process."""
    used = torch.cuda.memory_reserved(device) if device.type == "cuda" else used_memory()
    return "" if used is None else f"{used / 2**30:.1f} GiB"


def accuracy_text(state: RunState) -> str:
    """The latest scores, or nothing before the first validation."""
    return next((text for text in map(_scores_text, reversed(state.rows)) if text), "")


def _scores_text(row: Row) -> str:
    """The scores of an epoch that are shown: of a detector or of a classifier; nothing where it was not validated."""
    for main, *others in _SHOWN_SCORES:
        if row.get(f"val/{main}") is not None:
            return " ".join(f"{name} {row.get(f'val/{name}') or 0:.3f}" for name in (main, *others))
    return ""


def epoch_line(state: RunState, epochs: int) -> str:
    """One line about the last finished epoch."""
    row = state.rows[-1]
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}", f"{row['seconds']:.1f} s"]
    losses = {key.removeprefix("train/"): value for key, value in row.items() if key.startswith("train/")}
    parts += [f"{name} {value:.3f}" for name, value in losses.items() if name != "loss"]
    scores = _scores_text(row)
    if scores:
        parts.append(scores)
        if state.best_epoch == row["epoch"]:
            parts.append("best")
    return "  ".join(parts)

"""What a run remembers between epochs, and its file."""

from __future__ import annotations

import csv
import io
import pickle
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from ghostyolo.errors import OutputError, TrainingError
from ghostyolo.files import atomic_path, write_text

Row = dict[str, float | int | None]


@dataclass
class RunState:
    """Progress of one run; plain numbers only, so that it is stored without pickling.

    Attributes:
        rows: one a finished epoch: epoch (from 1), seconds, train/loss and its parts, val/AP ..., lr.
        best_score: the best AP or top-1 so far; None before the first validation.
        best_epoch: the epoch of it, from 1; 0 before.
        broken: pictures that could not be read, path -> reason.
        seconds: time spent in finished epochs, over all resumes.
    """

    rows: list[Row] = field(default_factory=list)
    best_score: float | None = None
    best_epoch: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epochs_done(self) -> int:
        """Finished epochs."""
        return len(self.rows)

    def finish_epoch(self, row: Row, score: float | None, validated: bool) -> bool:
        """Enter an epoch.

        Args:
            row: its figures, without "epoch".
            score: None where it is undefined (no objects) or was not measured.
            validated: whether it was measured.

        Returns:
            Whether these are the best weights so far. Without any validation the latest count as the best.
        """
        self.rows.append({"epoch": len(self.rows) + 1, **row})
        self.seconds += float(row.get("seconds") or 0)
        if not validated:
            return False
        score = score or 0.0
        gained = self.best_score is None or score > self.best_score
        # While every epoch scores 0, the later weights are the better guess.
        better = gained or self.best_score == 0
        if gained:
            self.best_score, self.best_epoch = score, self.epochs_done
        return better

    def out_of_patience(self, patience: int) -> bool:
        """Whether the best score is ``patience`` epochs old (0: never)."""
        return patience > 0 and self.best_epoch > 0 and self.epochs_done - self.best_epoch >= patience

    def write_csv(self, path: Path) -> None:
        """Write all rows atomically: whole and without doubled epochs after any interruption."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({key: _rounded(value) for key, value in row.items()})
        write_text(path, text.getvalue())

    def to_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunState:
        """Restore what :meth:`to_dict` gave."""
        return cls(**values)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint, written whole or not at all.

    Only tensors and plain values are ever unpickled.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with atomic_path(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # torch's own writer says so when the disk is full
                raise OutputError(f"cannot write {path}: {_first_line(error)}; is the disk full?") from error

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, zipfile.BadZipFile) as error:
            raise TrainingError(
                f"the resume state {Path(path)} is damaged or not ours ({_first_line(error)}): start anew in "
                "another --out, with --weights last.safetensors if you want its weights"
            ) from error
        return state


def _rounded(value: float | int | None) -> float | int | str:
    if value is None:
        return ""
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

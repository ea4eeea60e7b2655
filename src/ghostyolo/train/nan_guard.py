"""A guard that stops a run whose loss is not finite.

It says which pictures did it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ghostyolo.errors import TrainingError
from ghostyolo.files import write_json

FILE_NAME = "nan_batch.json"


class HasPath(Protocol):
    """A picture that can be named."""

    @property
    def path(self) -> Path: ...


class NanGuard:
    """A check of each loss.

    On CUDA it comes one step late, so that the device need not be waited for.

    Args:
        records: the training split, to name files.
        folder: where the file list is written.
        rank, world_size: all ranks stop together, and each one whose loss is bad writes its list.
    """

    def __init__(self, records: Sequence[HasPath], folder: Path, rank: int = 0, world_size: int = 1) -> None:
        self.records, self.folder, self.rank, self.world_size = records, folder, rank, world_size
        self._pending: tuple[Tensor, list[int], int, int] | None = None

    def check(self, loss: Tensor, indices: list[int], epoch: int, batch: int) -> None:
        """Look at the loss of the pictures at ``indices``.

        Raises:
            TrainingError: it (or, on CUDA, the one before) is NaN or infinite.
        """
        if loss.is_cuda and self.world_size == 1:
            finite = torch.isfinite(loss.detach())
            self.flush()
            self._pending = (finite, indices, epoch, batch)
        else:
            self._judge(torch.isfinite(loss.detach()), indices, epoch, batch)

    def flush(self) -> None:
        """Look at a loss that was put off; call it before weights are saved."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._judge(*pending)

    def _judge(self, finite: Tensor, indices: list[int], epoch: int, batch: int) -> None:
        bad_here = not bool(finite)
        bad_anywhere = bad_here
        if self.world_size > 1:
            flag = finite.logical_not().float()
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            bad_anywhere = bool(flag)
        if not bad_anywhere:
            return
        path = self.folder / (FILE_NAME if self.rank == 0 else FILE_NAME.replace(".json", f"_rank{self.rank}.json"))
        if bad_here:
            files = [str(self.records[index].path) for index in indices]
            write_json(path, {"epoch": epoch + 1, "batch": batch, "files": files})
        raise TrainingError(
            f"the loss is not a number (epoch {epoch + 1}, batch {batch}): its files are in {path}, the "
            "last good weights are kept; lower lr, or use precision 32"
        )

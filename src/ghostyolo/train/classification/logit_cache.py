"""A teacher's logits on disk, for the next student.

What the teacher sees is a function of (seed, epoch, picture), and with Mixup or CutMix of the batch as well. A cache is
for one such series of pictures; ``cache.json`` says which. Each epoch is one file of float16 logits and of the
positions they belong to, which appears when the epoch is complete; each process of a parallel run has its own. Logits
that are computed are rounded to float16 as well, so that both ways give one result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ghostyolo.errors import ConfigError, WeightsError, short
from ghostyolo.files import atomic_path, make_output_folder, write_json

DESCRIPTION = "cache.json"
_BYTES = 2  # of a float16


def open_cache(folder: str | Path, run: Mapping[str, Any], console: Console, *, write: bool = True) -> Path:
    """Take a new folder, or check that a cache is this run's.

    How large it will be is printed.

    Args:
        run: all that decides what the teacher sees and says; ``pictures``, ``classes`` and ``epochs`` tell the size.
        write: False for all processes but one.

    Raises:
        ConfigError: the cache is of another run.
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    file = folder / DESCRIPTION
    if file.is_file():
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{file} is damaged: choose another teacher_cache") from error
        plain = json.loads(json.dumps(dict(run)))
        for key in {**stored, **plain}:
            if stored.get(key) != plain.get(key):
                raise ConfigError(
                    f"the cache {folder} is of another run: '{key}' is {short(stored.get(key))} there and "
                    f"{short(plain.get(key))} here; choose another teacher_cache"
                )
        return folder
    if not write:
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} holds something else than teacher logits: choose another teacher_cache")
    size = run["pictures"] * run["classes"] * run["epochs"] * _BYTES
    console.print(f"teacher logits: up to {size / 1e6:,.1f} MB in {folder}", highlight=False, soft_wrap=True)
    make_output_folder(folder)
    write_json(file, dict(run))
    return folder


class LogitCache:
    """Reads or collects the logits of one epoch after the other.

    Args:
        folder: see :func:`open_cache`.
        rank, world_size: of this process.
    """

    def __init__(self, folder: Path, rank: int = 0, world_size: int = 1) -> None:
        self.folder, self.suffix = folder, f"-rank{rank}of{world_size}" if world_size > 1 else ""
        self._epoch = -1
        self._stored: Tensor | None = None
        self._rows: dict[int, int] = {}
        self._collected: list[tuple[list[int], Tensor]] = []

    def file(self, epoch: int) -> Path:
        """Where the logits of an epoch, from 0, are."""
        return self.folder / f"epoch{epoch + 1:04d}{self.suffix}.safetensors"

    def complete(self, epochs: int) -> bool:
        """Whether every epoch is there, so that no teacher is needed."""
        return all(self.file(epoch).is_file() for epoch in range(epochs))

    def begin_epoch(self, epoch: int) -> None:
        """Read the epoch's file, or start to collect.

        Raises:
            WeightsError: a damaged file.
        """
        self._epoch, self._stored, self._rows, self._collected = epoch, None, {}, []
        path = self.file(epoch)
        if path.is_file():
            try:
                tensors = load_file(path)
                self._stored = tensors["logits"]
                self._rows = {index: row for row, index in enumerate(tensors["indices"].tolist())}
            except (SafetensorError, OSError, KeyError) as error:
                raise WeightsError(f"the cached logits {path} are damaged: delete that file") from error

    def get(self, indices: list[int]) -> Tensor | None:
        """Look up logits (B, classes) float32 of pictures by position.

        None where they must be computed.

        Raises:
            WeightsError: the epoch is stored, but not one of these pictures.
        """
        if self._stored is None:
            return None
        missing = [index for index in indices if index not in self._rows]
        if missing:
            raise WeightsError(f"{self.file(self._epoch)} lacks picture {missing[0]}: delete that file")
        return self._stored[[self._rows[index] for index in indices]].float()

    def put(self, indices: list[int], logits: Tensor) -> Tensor:
        """Keep computed logits; returns them as they will be read."""
        half = logits.detach().half()
        self._collected.append((list(indices), half.cpu()))
        return half.to(logits.dtype)

    def end_epoch(self) -> None:
        """Write what was collected."""
        if self._stored is not None or not self._collected:
            return
        positions = torch.tensor([index for indices, _ in self._collected for index in indices])
        tensors = {"indices": positions, "logits": torch.cat([logits for _, logits in self._collected])}
        with atomic_path(self.file(self._epoch)) as temporary:
            save_file(tensors, temporary)

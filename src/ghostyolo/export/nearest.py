"""Nearest upsampling to a size that is no multiple, for formats that round the other way.

PyTorch takes row ``floor(i h / H)`` of a map for row i; LiteRT's converter puts its centres at half, which is another
row where H is no multiple of h (7 from 3). Written as a choice of rows and columns it is the same everywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@contextlib.contextmanager
def nearest_by_index() -> Iterator[None]:
    """Within it, ``torch.nn.functional.interpolate`` chooses rows and columns where the ratio is no whole number."""
    original = functional.interpolate

    def interpolate(
        x: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **rest: Any
    ) -> Tensor:
        if mode != "nearest" or size is None or x.dim() != 4:
            return original(x, size, scale_factor, mode, **rest)
        targets = [size, size] if isinstance(size, int) else list(size)
        for axis, target in zip((2, 3), targets, strict=True):
            if target % x.shape[axis]:
                x = x.index_select(axis, torch.tensor(source_indices(x.shape[axis], target), device=x.device))
        return x if list(x.shape[2:]) == targets else original(x, targets, mode=mode)

    functional.interpolate = interpolate  # type: ignore[assignment]
    try:
        yield
    finally:
        functional.interpolate = original


def source_indices(length: int, target: int) -> list[int]:
    """Which of ``length`` rows each of ``target`` rows is, in the float32 arithmetic of PyTorch."""
    step = np.float32(length / target)
    return [min(int(np.float32(row) * step), length - 1) for row in range(target)]

"""What all heads share.

Their towers are walked once, for raw maps, for training and for boxes alike.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """Reads one map a level and predicts boxes and scores.

    It gives raw predictions in training.

    Boxes are (B, A, 4) xyxy in input pixels, scores (B, A, classes) in 0..1. A subclass says :meth:`walk`,
    :meth:`arrange` and :meth:`decode`.

    Attributes:
        criterion: name of the criterion that takes the raw predictions, see :mod:`ghostyolo.losses.registry`.
        needs_nms: whether a reader must suppress the weaker boxes of one object.
    """

    criterion: str
    needs_nms = True
    num_classes: int
    strides: tuple[int, ...]

    @abstractmethod
    def walk(self, features: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """Return the maps (B, channels, H, W) that each level's towers end in."""

    @abstractmethod
    def arrange(self, levels: list[tuple[Tensor, ...]], features: Sequence[Tensor]) -> Any:
        """Put the maps of :meth:`walk` into the dataclass that the criterion takes."""

    @abstractmethod
    def decode(self, output: Any) -> tuple[Tensor, Tensor]:
        """Turn raw predictions into boxes and scores."""

    def raw(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return one map (B, channels, H, W) a level, the towers' side by side."""
        return [torch.cat(maps, 1) if len(maps) > 1 else maps[0] for maps in self.walk(features)]

    def collect(self, features: Sequence[Tensor]) -> Any:
        """Return the raw predictions of all levels as the criterion takes them."""
        return self.arrange(self.walk(features), features)

    def forward(self, features: Sequence[Tensor]) -> Any:
        output = self.collect(features)
        return output if self.training else self.decode(output)

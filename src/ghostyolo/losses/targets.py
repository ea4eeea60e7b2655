"""The objects of a batch as padded tensors: what augmentation returns and every criterion takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Targets:
    """Objects of B pictures, padded to the largest count M (M may be 0).

    Attributes:
        boxes_xyxy: (B, M, 4) float, corners in pixels of the network's input.
        labels: (B, M) int64.
        mask: (B, M) bool, True where the row is an object and not padding.
    """

    boxes_xyxy: Tensor
    labels: Tensor
    mask: Tensor

    @classmethod
    def from_lists(cls, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> Targets:
        """Pad per-picture tensors, boxes (M_i, 4) and labels (M_i,), on the device of the first."""
        count = max((len(box) for box in boxes), default=0)
        device = boxes[0].device
        padded = cls(
            torch.zeros(len(boxes), count, 4, device=device),
            torch.zeros(len(boxes), count, dtype=torch.long, device=device),
            torch.zeros(len(boxes), count, dtype=torch.bool, device=device),
        )
        for row, (box, label) in enumerate(zip(boxes, labels, strict=True)):
            padded.boxes_xyxy[row, : len(box)] = box
            padded.labels[row, : len(box)] = label
            padded.mask[row, : len(box)] = True
        return padded

"""The objects of a batch as padded tensors.

Augmentation returns them and every criterion takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ghostyolo.errors import DataError


@dataclass
class Targets:
    """Objects of B pictures, padded to the largest count M (M may be 0).

    Attributes:
        boxes_xyxy: (B, M, 4) float, corners in pixels of the network's input.
        labels: (B, M) int64; of a region to ignore ``~label``, which is below 0: what lies there is neither an object
            to learn nor background of that class (COCO crowd, VOC difficult).
        mask: (B, M) bool, True where the row is an object and not padding.
        known: (B, C) bool, classes that each picture's labels know: of the others nothing is said, neither that they
            are there nor that they are not. None: all.
        class_weights: (C,) what an object of each class counts in the class loss. None: 1.
    """

    boxes_xyxy: Tensor
    labels: Tensor
    mask: Tensor
    known: Tensor | None = None
    class_weights: Tensor | None = None

    @classmethod
    def from_lists(cls, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> Targets:
        """Pad boxes (M_i, 4) and labels (M_i,) of pictures.

        On the device of the first.
        """
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

    def real(self) -> tuple[Tensor, Tensor]:
        """Return picture and row, (N,) int64 each, of the objects with an area.

        No prediction can overlap the others.
        """
        sides = self.boxes_xyxy[..., 2:] - self.boxes_xyxy[..., :2]
        image, row = (self.mask & (self.labels >= 0) & (sides > 0).all(-1)).nonzero(as_tuple=True)
        return image, row

    def check(self, classes: int) -> None:
        """Refuse labels that are no class of the head, nor a region of one.

        Raises:
            DataError: the first of them.
        """
        labels = self.labels[self.mask]
        wrong = labels[(labels < -classes) | (labels >= classes)]
        if len(wrong):
            label = int(wrong[0])
            raise DataError(f"label {max(label, ~label)} in the targets: the model's classes are 0..{classes - 1}")

    def background(self, centers: Tensor, classes: int) -> Tensor | None:
        """Tell where a cell without an object is background of a class.

        It is not inside the class's regions to ignore.

        Args:
            centers: (A, 2) cell centres, pixels.
            classes: C.

        Returns:
            (B, A, C) bool; None where there is no region to ignore, so that all is background.
        """
        image, row = (self.mask & (self.labels < 0)).nonzero(as_tuple=True)
        if not len(image):
            return None
        background = torch.ones(len(self.mask), len(centers), classes, dtype=torch.bool, device=centers.device)
        regions_xyxy, labels = self.boxes_xyxy[image, row], ~self.labels[image, row]
        for picture, region, label in zip(image.tolist(), regions_xyxy, labels.tolist(), strict=True):
            inside = ((centers >= region[:2]) & (centers <= region[2:])).all(-1)
            background[picture, :, label] &= ~inside
        return background

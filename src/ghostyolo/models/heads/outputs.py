"""What heads return while training; in evaluation every head decodes to boxes and scores instead."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class DflOutput:
    """Raw predictions of a distribution head over all levels, A anchors (cells) in all.

    Attributes:
        box_logits: (B, A, 4 x bins); left, top, right, bottom, each ``bins`` logits over 0..bins-1 strides.
        cls_logits: (B, A, classes), before the sigmoid.
        centers: (A, 2) cell centres (x, y) in input pixels.
        strides: (A, 1) pixels per cell of each anchor.
    """

    box_logits: Tensor
    cls_logits: Tensor
    centers: Tensor
    strides: Tensor

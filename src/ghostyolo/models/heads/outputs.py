"""What heads return while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

AnchorAssignment = Literal["ratio", "ota"]


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


@dataclass
class EndToEndOutput:
    """Raw predictions of the two branches of an end-to-end head, of the same cells.

    Attributes:
        one_to_many: of the branch that only trains; its gradient reaches the whole network.
        one_to_one: of the branch that is deployed; its gradient stays in the branch.
    """

    one_to_many: DflOutput
    one_to_one: DflOutput


@dataclass
class YoloXOutput:
    """Raw predictions of YOLOX's head over all levels, A anchors (cells) in all.

    Attributes:
        box_offsets: (B, A, 4) dx, dy, dw, dh, see :mod:`ghostyolo.nn.boxes`.
        obj_logits: (B, A) that there is an object, before the sigmoid.
        cls_logits: (B, A, classes) of an object that is there, before the sigmoid.
        centers: (A, 2) cell centres (x, y) in input pixels.
        strides: (A, 1) pixels per cell of each anchor.
    """

    box_offsets: Tensor
    obj_logits: Tensor
    cls_logits: Tensor
    centers: Tensor
    strides: Tensor


@dataclass
class AnchorOutput:
    """Raw predictions of an anchor head, level by level; N anchors a cell.

    Attributes:
        logits: of each level (B, N, 5 + classes, H, W), before the sigmoid: x, y, width, height, objectness, classes.
        anchors: (levels, N, 2) width and height in input pixels.
        strides: pixels per cell of each level.
    """

    logits: list[Tensor]
    anchors: Tensor
    strides: tuple[int, ...]

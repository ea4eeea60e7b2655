"""Overlap of box pairs: IoU, GIoU and CIoU, differentiable.

Boxes are corners (x1, y1, x2, y2) in any one unit. Aligned pairs only, N against N: for all pairs of two sets
(N against M) use ``torchvision.ops.box_iou`` and its family.
Sources: GIoU: Rezatofighi et al., 2019 (arXiv 1902.09630). CIoU: Zheng et al., 2020 (arXiv 1911.08287,
equations 9 to 11; 2005.03572).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from ghostyolo.errors import ConfigError, suggest

OverlapKind = Literal["iou", "giou", "ciou"]


def iou_aligned(boxes1_xyxy: Tensor, boxes2_xyxy: Tensor, kind: OverlapKind = "iou", eps: float = 1e-7) -> Tensor:
    """Return the overlap of the boxes in the same row of two sets.

    Half and bfloat16 boxes are widened to float32 first: their squares overflow or lose the box.

    Args:
        boxes1_xyxy: (..., 4).
        boxes2_xyxy: (..., 4), broadcastable with the first, same unit.
        kind: "iou" (0..1), "giou" (-1..1) or "ciou" (below 1, IoU less a centre and an aspect penalty).
        eps: keeps divisions by empty areas finite; small against one squared unit.

    Returns:
        (...) of the dtype of the boxes, at least float32.

    Raises:
        ConfigError: ``kind`` is unknown.
    """
    if kind not in get_args(OverlapKind):
        raise ConfigError(f"overlap kind {kind!r} is unknown: {suggest(str(kind), get_args(OverlapKind))}")
    dtype = torch.promote_types(torch.promote_types(boxes1_xyxy.dtype, boxes2_xyxy.dtype), torch.float32)
    first, second = boxes1_xyxy.to(dtype), boxes2_xyxy.to(dtype)
    # Coordinates apart: elementwise work on (..., 2) slices is several times slower on a CPU.
    left1, top1, right1, bottom1 = first.unbind(-1)
    left2, top2, right2, bottom2 = second.unbind(-1)
    width1, height1 = right1 - left1, bottom1 - top1
    width2, height2 = right2 - left2, bottom2 - top2

    shared_width = (torch.minimum(right1, right2) - torch.maximum(left1, left2)).clamp(min=0)
    shared_height = (torch.minimum(bottom1, bottom2) - torch.maximum(top1, top2)).clamp(min=0)
    intersection = shared_width * shared_height
    union = width1 * height1 + width2 * height2 - intersection + eps
    iou = intersection / union
    if kind == "iou":
        return iou

    hull_width = torch.maximum(right1, right2) - torch.minimum(left1, left2)
    hull_height = torch.maximum(bottom1, bottom2) - torch.minimum(top1, top2)
    if kind == "giou":
        hull = hull_width * hull_height + eps
        return iou - (hull - union) / hull

    diagonal = hull_width**2 + hull_height**2 + eps
    between = ((left1 + right1 - left2 - right2) ** 2 + (top1 + bottom1 - top2 - bottom2) ** 2) / 4
    angle1, angle2 = torch.atan(width1 / (height1 + eps)), torch.atan(width2 / (height2 + eps))
    aspect = (4 / math.pi**2) * (angle1 - angle2) ** 2
    with torch.no_grad():  # a trade-off weight, not a quantity to optimise
        weight = aspect / (1 - iou + aspect + eps)
    return iou - between / diagonal - weight * aspect

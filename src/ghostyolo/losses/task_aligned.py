"""Task-aligned assignment: which anchors learn which object, and how strongly.

An anchor that lies inside an object is a candidate of it; the object takes the ``topk`` candidates of best
alignment score^alpha x overlap^beta between what the anchor predicts now and the object.
Shapes: B pictures, A anchors, M padded objects, C classes; inside, N real objects of the whole batch and P
candidate pairs (object, anchor), the only ones for which anything is computed: nothing of size
B x M x A x C or N x A exists.
Source: Feng et al., 2021, "TOOD" (arXiv 2108.07755), section 3.2: equation 4 and the normalised target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError
from ghostyolo.losses.iou import iou_aligned
from ghostyolo.losses.rank import rank_in_group
from ghostyolo.nn.boxes import cells_between


@dataclass
class Assignment:
    """What each anchor has to learn. Background anchors hold zeros, and -1 as object.

    Attributes:
        foreground: (B, A) bool, True where the anchor learns an object.
        boxes_xyxy: (B, A, 4) the object's corners, pixels.
        cls_targets: (B, A, C) soft class targets, 0..1.
        object_index: (B, A) int64, row of the object in the targets' M.
    """

    foreground: Tensor
    boxes_xyxy: Tensor
    cls_targets: Tensor
    object_index: Tensor


@dataclass(frozen=True)
class TaskAlignedAssigner:
    """Assigns objects to anchors; no gradient flows through it.

    Rules, in order:

    - Objects without area are left out: no prediction can overlap them.
    - Candidates are the anchors whose centre lies in the object's box or on its border. A side shorter than
      ``min_side`` strides of the finest level is widened to that, around its middle, for this test only.
      With 1 every object in the picture has a candidate; with 0 one that lies between the cell centres is
      taught as background. More than 1 adds anchors that cannot fit the object: distances to the sides
      are never negative, so a predicted box always holds its centre.
    - Each object takes its ``topk`` candidates of highest positive alignment; of equals the lower anchor.
    - An anchor taken by several objects keeps the one of highest overlap; of equals that of higher
      alignment, then the lower object.
    - The soft target of an anchor is its alignment, scaled so that the best anchor of each object gets the
      highest overlap among the anchors that this object kept.

    Attributes:
        topk: anchors an object takes at most.
        alpha: exponent of the class score.
        beta: exponent of the overlap.
        min_side: shortest candidate side in strides of the finest level; 0 to take boxes as they are.
        overlap: "iou", as in the paper, or "ciou" (negative values count as 0). CIoU of a long thin object
            is negative for the square boxes that a fresh network predicts, and such an object then waits.
    """

    topk: int = 10
    alpha: float = 0.5
    beta: float = 6.0
    min_side: float = 1.0
    overlap: Literal["iou", "ciou"] = "iou"

    def __post_init__(self) -> None:
        if self.topk < 1:
            raise ConfigError(f"topk of the assigner must be at least 1, not {self.topk}")
        for name in ("alpha", "beta", "min_side"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} of the assigner must be 0 or more, not {getattr(self, name)}")
        if self.overlap not in ("iou", "ciou"):
            raise ConfigError(f"overlap of the assigner must be 'iou' or 'ciou', not {self.overlap!r}")

    @torch.no_grad()
    def __call__(
        self, cls_logits: Tensor, boxes_xyxy: Tensor, centers: Tensor, strides: Tensor, targets: Targets
    ) -> Assignment:
        """Assign the objects of one batch.

        Args:
            cls_logits: (B, A, C) predicted, before the sigmoid.
            boxes_xyxy: (B, A, 4) predicted, pixels.
            centers: (A, 2) cell centres, pixels.
            strides: (A, 1) pixels per cell.
            targets: objects in pixels.

        Returns:
            The assignment, in the dtype of ``boxes_xyxy`` (at least float32).

        Raises:
            DataError: a label lies outside 0..C - 1.
        """
        batch, anchors, classes = cls_logits.shape
        dtype = torch.promote_types(boxes_xyxy.dtype, torch.float32)
        image, row = targets.real()
        objects_xyxy, labels = targets.boxes_xyxy[image, row].to(dtype), targets.labels[image, row]
        targets.check(classes)

        pair_object, pair_anchor = self._candidates(objects_xyxy, centers, strides)
        pair_cell = image[pair_object] * anchors + pair_anchor
        overlap = iou_aligned(
            boxes_xyxy.reshape(-1, 4).index_select(0, pair_cell),
            objects_xyxy.index_select(0, pair_object),
            self.overlap,
        ).clamp(0, 1)
        score = cls_logits.reshape(-1).index_select(0, pair_cell * classes + labels[pair_object])
        alignment = score.to(dtype).sigmoid() ** self.alpha * overlap**self.beta

        # A fresh network makes many equals, since all its boxes have one size: the rank says which goes first.
        best = rank_in_group(pair_object, -alignment) < self.topk
        kept = (best & (alignment > 0)).nonzero().squeeze(1)
        kept = kept[_wins_its_cell(pair_cell[kept], overlap[kept], alignment[kept], batch * anchors)]
        cell, taken = pair_cell[kept], pair_object[kept]
        overlap, alignment = overlap[kept], alignment[kept]
        best_overlap = _largest_by_index(taken, overlap, len(labels))
        best_alignment = _largest_by_index(taken, alignment, len(labels))
        # alignment is above 0 for all that are kept, so the division needs no eps, which would erase the
        # targets of objects that nothing overlaps well yet (0.03 IoU to the power of 6 is 1e-9).
        soft = alignment / best_alignment[taken] * best_overlap[taken]

        device = boxes_xyxy.device
        foreground = torch.zeros(batch * anchors, dtype=torch.bool, device=device)
        boxes = torch.zeros(batch * anchors, 4, dtype=dtype, device=device)
        cls_targets = torch.zeros(batch * anchors, classes, dtype=dtype, device=device)
        object_index = torch.full((batch * anchors,), -1, dtype=torch.long, device=device)
        foreground[cell] = True
        boxes[cell] = objects_xyxy[taken]
        cls_targets[cell, labels[taken]] = soft
        object_index[cell] = row[taken]
        return Assignment(
            foreground.view(batch, anchors),
            boxes.view(batch, anchors, 4),
            cls_targets.view(batch, anchors, classes),
            object_index.view(batch, anchors),
        )

    def _candidates(self, objects_xyxy: Tensor, centers: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
        """Object and anchor (P,) of each anchor whose centre lies in an object, small objects widened."""
        left_top, right_bottom = objects_xyxy.chunk(2, -1)
        middle = (left_top + right_bottom) / 2
        reach = strides.amin().to(objects_xyxy.dtype) * (self.min_side / 2)
        low = torch.minimum(left_top, middle - reach)
        high = torch.maximum(right_bottom, middle + reach)
        return cells_between(low, high, centers, strides)


def _ordered_bits(values: Tensor) -> Tensor:
    """int64 of 31 bits that sort as the values do; values are 0 or more."""
    return values.float().view(torch.int32).long()


def class_weight(targets: Targets, foreground: Tensor, centers: Tensor, cls_logits: Tensor) -> Tensor | None:
    """Return the weight of each class loss: 0 or 1.

    It is 0 where the labels do not say what is there: for classes that a picture's labels do not know, and for cells
    that learn no object in a region to ignore.

    Args:
        targets: of the batch.
        foreground: (B, A) bool, cells that learn an object.
        centers: (A, 2) cell centres, pixels.
        cls_logits: (B, A, C), for their dtype.

    Returns:
        (B, A, C), or (B, 1, C), or None where all weights are 1.
    """
    background = targets.background(centers, cls_logits.shape[-1])
    said = None if background is None else background | foreground.unsqueeze(-1)
    if targets.known is not None:
        known = targets.known.unsqueeze(1)
        said = known if said is None else said & known
    return None if said is None else said.to(cls_logits.dtype)


def object_weight(targets: Targets, assigned: Assignment) -> Tensor | None:
    """Return what the object that each cell learns counts, (B, A).

    It is 1 for background, and None where all objects count alike.
    """
    if targets.class_weights is None or not targets.labels.shape[1]:
        return None
    labels = targets.labels.gather(1, assigned.object_index.clamp(min=0)).clamp(min=0)
    return torch.where(assigned.foreground, targets.class_weights[labels], 1.0)


def _wins_its_cell(cell: Tensor, overlap: Tensor, alignment: Tensor, cells: int) -> Tensor:
    """(K,) bool: of the pairs that want the same cell, one is True."""
    keys = (_ordered_bits(overlap) << 32) + _ordered_bits(alignment)
    wins = keys == _largest_by_index(cell, keys, cells)[cell]
    # The pairs come in the order of their objects: of equals, the first place is the lower object.
    places = torch.where(wins, torch.arange(len(cell), device=cell.device), len(cell))
    first = torch.full((cells,), len(cell), device=cell.device).scatter_reduce(0, cell, places, "amin")
    return places == first[cell]


def _largest_by_index(index: Tensor, values: Tensor, count: int) -> Tensor:
    """(count,) largest of the values (0 or more) that share an index; 0 where there are none."""
    return values.new_zeros(count).scatter_reduce(0, index, values, "amax")

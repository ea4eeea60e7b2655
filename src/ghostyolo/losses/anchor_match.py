"""Which anchors may learn which objects: by the ratio of their sides, at the object's cell and two beside it.

An anchor matches an object when none of width / anchor width, height / anchor height and their inverses reaches 4. It
does so at the cell that holds the object's centre, at the nearer of its left and right neighbours and at the nearer of
its upper and lower ones: the cells from which a centre can be predicted, see :mod:`ghostyolo.models.heads.anchor`.
Shapes: N objects of the whole batch, A anchors a level, P matches. Source: YOLOv5's published target building.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Matches:
    """P pairs of an object and an anchor at a cell, sorted by level. All are (P,) int64.

    Attributes:
        objects: which object.
        image: its picture.
        level, anchor, row, column: where the prediction is.
    """

    objects: Tensor
    image: Tensor
    level: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor

    def __len__(self) -> int:
        return len(self.objects)

    def select(self, index: Tensor) -> Matches:
        """Those at these places (int64) or where True."""
        return Matches(*(values[index] for values in vars(self).values()))


def match_by_ratio(
    objects_xyxy: Tensor,
    image: Tensor,
    anchors: Tensor,
    strides: Sequence[int],
    shapes: Sequence[tuple[int, int]],
    largest_ratio: float = 4.0,
) -> Matches:
    """All matches of a batch.

    An object whose centre lies on the right or lower border of the picture belongs to the last cell. A centre in the
    middle between two neighbours has no nearer one, and neither is taken: its offset is out of reach of both.

    Args:
        objects_xyxy: (N, 4) pixels, sides above 0.
        image: (N,) the picture of each.
        anchors: (levels, A, 2) width and height, pixels.
        strides: pixels per cell of each level.
        shapes: rows and columns of each level.
        largest_ratio: ratios from here on do not match.
    """
    centers = (objects_xyxy[:, :2] + objects_xyxy[:, 2:]) / 2
    sides = (objects_xyxy[:, 2:] - objects_xyxy[:, :2]).unsqueeze(1)
    found = []
    for level, (stride, (rows, columns)) in enumerate(zip(strides, shapes, strict=True)):
        ratios = sides / anchors[level].to(sides.dtype)
        fits = torch.maximum(ratios, 1 / ratios).amax(-1) < largest_ratio
        pair_object, pair_anchor = fits.nonzero(as_tuple=True)
        cells, exists = _cells((centers / stride).index_select(0, pair_object), rows, columns)
        pair, place = exists.nonzero(as_tuple=True)
        column, row = cells[pair, place].unbind(-1)
        objects, anchor = pair_object[pair], pair_anchor[pair]
        found.append((objects, image[objects], torch.full_like(objects, level), anchor, row, column))
    return Matches(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _cells(centers: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Own, horizontal and vertical cell (K, 3, 2) as column and row, and whether each is there (K, 3) bool.

    Args:
        centers: (K, 2) in cells.
    """
    limit = torch.tensor([columns, rows], device=centers.device)
    own = torch.minimum(centers.floor().long().clamp(min=0), limit - 1)
    offset = centers - own
    step = (offset > 0.5).long() - (offset < 0.5).long()
    beside = own + step
    there = (step != 0) & (beside >= 0) & (beside < limit)
    horizontal = torch.stack((beside[:, 0], own[:, 1]), -1)
    vertical = torch.stack((own[:, 0], beside[:, 1]), -1)
    cells = torch.stack((own, horizontal, vertical), 1)
    return cells, torch.cat((torch.ones_like(there[:, :1]), there), 1)

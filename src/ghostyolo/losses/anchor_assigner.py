"""Which anchors learn which objects.

Candidates by the ratio of their sides, then the cheapest of them (SimOTA).

An anchor matches an object when none of width / anchor width, height / anchor height and their inverses reaches 4. It
does so at the cell that holds the object's centre, at the nearer of its left and right neighbours and at the nearer of
its upper and lower ones: the cells from which a centre can be predicted, see :mod:`ghostyolo.models.heads.anchor`.

The cost of a match is the class loss of sqrt(class x objectness), summed over classes, plus 3 x -log(IoU). An object
keeps as many matches as the sum of its 10 best IoUs, rounded down, at least one; a prediction that several objects keep
goes to the one it is cheapest for.

Shapes: N objects of the whole batch, A anchors a level, P matches, C classes. Sources: YOLOv5's published target
building; SimOTA, Ge et al., 2021, "YOLOX" (arXiv 2107.08430); on anchor matches, YOLOv7 (2207.02696). In YOLOv7's
published code an object may also take matches of the other objects of its picture; here it takes its own, since no
other cell can predict its centre and no other anchor its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ghostyolo.losses.rank import rank_in_group


@dataclass
class Matches:
    """Pairs of an object and an anchor at a cell.

    There are P, sorted by level; all are (P,) int64.

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
    levels = []
    for level, (stride, (rows, columns)) in enumerate(zip(strides, shapes, strict=True)):
        ratios = sides / anchors[level].to(sides.dtype)
        fits = torch.maximum(ratios, 1 / ratios).amax(-1) < largest_ratio
        pair_object, pair_anchor = fits.nonzero(as_tuple=True)
        cells, exists = _cells((centers / stride).index_select(0, pair_object), rows, columns)
        pair, place = exists.nonzero(as_tuple=True)
        column, row = cells[pair, place].unbind(-1)
        objects, anchor = pair_object[pair], pair_anchor[pair]
        levels.append((objects, image[objects], torch.full_like(objects, level), anchor, row, column))
    return Matches(*(torch.cat(parts) for parts in zip(*levels, strict=True)))


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


IOU_WEIGHT = 3.0
BEST_IOUS = 10


def match_costs(logits: Tensor, labels: Tensor, overlap: Tensor) -> Tensor:
    """Cost (P,) of each match, in the dtype of ``overlap``.

    Args:
        logits: (P, 5 + C) of the predictions, before the sigmoid.
        labels: (P,) class of the object.
        overlap: (P,) IoU of prediction and object.
    """
    log_score = functional.logsigmoid(logits[:, 4:5]).add(functional.logsigmoid(logits[:, 5:])) / 2
    log_rest = torch.log(-torch.expm1(log_score)).clamp(min=-100)  # as torch's own BCE does
    rows = torch.arange(len(labels), device=labels.device)
    wrong = -log_rest.sum(-1) + log_rest[rows, labels]
    return wrong - log_score[rows, labels] - IOU_WEIGHT * torch.log(overlap + 1e-8)


def cheapest_matches(matches: Matches, costs: Tensor, overlap: Tensor, objects: int) -> Tensor:
    """Return the places of the matches that are kept.

    They are (K,) int64, ascending; of equal costs the earlier match.

    Args:
        matches: of the whole batch.
        costs: (P,) of each.
        overlap: (P,) IoU of prediction and object.
        objects: N.
    """
    # A prediction that is not a number must not reach the counts: the loss shows it.
    costs, overlap = costs.nan_to_num(nan=torch.inf), overlap.nan_to_num(nan=0.0)
    by_overlap = rank_in_group(matches.objects, -overlap)
    best = torch.where(by_overlap < BEST_IOUS, overlap, 0)
    sums = torch.zeros(objects, dtype=overlap.dtype, device=overlap.device)
    wanted = sums.index_add(0, matches.objects, best).long().clamp(min=1)
    kept = (rank_in_group(matches.objects, costs) < wanted[matches.objects]).nonzero().squeeze(1)
    place = torch.stack((matches.image, matches.level, matches.anchor, matches.row, matches.column), 1)[kept]
    _, prediction = place.unique(dim=0, return_inverse=True)
    return kept[rank_in_group(prediction, costs[kept]) == 0]

"""SimOTA among anchor matches: each object keeps the few of its matches that are cheapest to teach.

The cost of a match is the class loss of sqrt(class x objectness), summed over classes, plus 3 x -log(IoU). An object
keeps as many matches as the sum of its 10 best IoUs, rounded down, at least one; a prediction that several objects keep
goes to the one it is cheapest for. Shapes: N objects, P matches, C classes.
Sources: SimOTA, Ge et al., 2021, "YOLOX" (arXiv 2107.08430); on anchor matches, YOLOv7 (2207.02696). In YOLOv7's
published code an object may also take matches of the other objects of its picture; here it takes its own, since no
other cell can predict its centre and no other anchor its size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ghostyolo.losses.anchor_match import Matches
from ghostyolo.losses.rank import rank_in_group

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
    """Places (K,) int64, ascending, of the matches that are kept; of equal costs the earlier match.

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

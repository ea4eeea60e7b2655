"""SimOTA: each object takes its cheapest anchors.

It takes as many as its best predictions overlap it in sum.

Shapes: B pictures, A anchors, M padded objects, C classes; inside, one picture at a time, N real objects and K
candidate anchors. Sources: Ge et al., 2021, "YOLOX" (arXiv 2107.08430), section 2.1, SimOTA, and "OTA" (2103.14259),
whose center prior and dynamic k it keeps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError
from ghostyolo.losses.iou import iou_aligned
from ghostyolo.losses.rank import rank_in_group
from ghostyolo.losses.task_aligned import Assignment

# An anchor outside an object's box or middle is taken only after all that are inside both.
_OUTSIDE_COST = 1e5
# Probabilities are kept this far from 0 and 1, so that a cost is a number.
_LOG_FLOOR = -100.0
# Objects x candidates that are looked at together.
_TABLE_SIZE = 2**20


@dataclass(frozen=True)
class SimOtaAssigner:
    """Assigns objects to anchors; no gradient flows through it.

    Rules, in order:

    - Objects without area are left out: no prediction can overlap them.
    - Candidates of a picture are the anchors whose centre lies in the box or in the middle square of any of its
      objects; the square reaches ``center_radius`` strides of the anchor to each side of the object's middle.
    - What a candidate costs an object: binary cross entropy of its class probabilities, each the root of
      objectness x class, and ``iou_gain`` x -log(IoU), and 1e5 more where the centre is not in both box and square.
    - k of an object is the sum of the ``topk`` best IoUs among the candidates, rounded down, at least 1; it takes the
      k candidates of least cost, of equals the lower anchor.
    - An anchor taken by several objects keeps the one that it costs least, of equals the lower object.
    - The class target of an anchor is the IoU of its prediction with its object.

    Attributes:
        center_radius: reach of the middle square in strides, above 0.
        topk: predictions that are looked at for k.
        iou_gain: weight of the overlap in the cost.
    """

    center_radius: float = 2.5
    topk: int = 10
    iou_gain: float = 3.0

    def __post_init__(self) -> None:
        if self.topk < 1:
            raise ConfigError(f"topk of the assigner must be at least 1, not {self.topk}")
        if not self.center_radius > 0:
            raise ConfigError(f"center_radius of the assigner must be above 0, not {self.center_radius}")
        if not self.iou_gain >= 0:
            raise ConfigError(f"iou_gain of the assigner must be 0 or more, not {self.iou_gain}")

    @torch.no_grad()
    def __call__(
        self,
        cls_logits: Tensor,
        obj_logits: Tensor,
        boxes_xyxy: Tensor,
        centers: Tensor,
        strides: Tensor,
        targets: Targets,
    ) -> Assignment:
        """Assign the objects of one batch.

        Args:
            cls_logits: (B, A, C) predicted, before the sigmoid.
            obj_logits: (B, A) predicted, before the sigmoid.
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
        device, dtype = boxes_xyxy.device, torch.promote_types(boxes_xyxy.dtype, torch.float32)
        image, row = targets.real()
        targets.check(classes)
        assigned = Assignment(
            torch.zeros(batch, anchors, dtype=torch.bool, device=device),
            torch.zeros(batch, anchors, 4, dtype=dtype, device=device),
            torch.zeros(batch, anchors, classes, dtype=dtype, device=device),
            torch.full((batch, anchors), -1, dtype=torch.long, device=device),
        )
        for picture in range(batch):
            rows = row[image == picture]
            objects_xyxy = targets.boxes_xyxy[picture, rows].to(dtype)
            labels = targets.labels[picture, rows]
            cells, in_both = self._candidates(objects_xyxy, centers.to(dtype), strides.to(dtype))
            if not len(cells):
                continue
            class_cost = _class_cost(cls_logits[picture, cells].to(dtype), obj_logits[picture, cells].to(dtype))
            taken, cell, cost, overlap = self._take(
                boxes_xyxy[picture, cells], class_cost, in_both, objects_xyxy, labels
            )
            wins = rank_in_group(cell, cost) == 0
            taken, cell, overlap = taken[wins], cells[cell[wins]], overlap[wins]
            assigned.foreground[picture, cell] = True
            assigned.boxes_xyxy[picture, cell] = objects_xyxy[taken]
            assigned.cls_targets[picture, cell, labels[taken]] = overlap
            assigned.object_index[picture, cell] = rows[taken]
        return assigned

    def _candidates(self, objects_xyxy: Tensor, centers: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
        """(K,) int64 the anchors in the box or middle square of any object, and (N, K) bool: in both."""
        either = torch.zeros(len(centers), dtype=torch.bool, device=centers.device)
        both = []
        for part_xyxy in objects_xyxy.split(_rows_at_once(len(centers))):
            low, high = part_xyxy.unsqueeze(1).chunk(2, -1)
            in_box = ((centers > low) & (centers < high)).all(-1)
            in_square = ((centers - (low + high) / 2).abs() < self.center_radius * strides).all(-1)
            either |= (in_box | in_square).any(0)
            both.append(in_box & in_square)
        cells = either.nonzero().squeeze(1)
        return cells, torch.cat(both)[:, cells] if both else either.new_zeros(0, 0)

    def _take(
        self, boxes_xyxy: Tensor, class_cost: Tensor, in_both: Tensor, objects_xyxy: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What each object takes: (P,) object, candidate, cost and overlap of each pair, objects in order.

        Args:
            boxes_xyxy: (K, 4) predictions of the candidates.
            class_cost: (C, K), see :func:`_class_cost`.
            in_both: (N, K).
            objects_xyxy, labels: (N, 4) and (N,).
        """
        most, at_once = min(self.topk, len(boxes_xyxy)), _rows_at_once(len(boxes_xyxy))
        pairs = []
        for begin in range(0, len(labels), at_once):
            part = slice(begin, begin + at_once)
            overlap = iou_aligned(boxes_xyxy.unsqueeze(0), objects_xyxy[part].unsqueeze(1)).nan_to_num_(0)
            # In float64, where the large penalty leaves the digits by which the anchors outside differ.
            cost = (class_cost[labels[part]] - self.iou_gain * (overlap + 1e-8).log()).double()
            cost.add_(~in_both[part], alpha=_OUTSIDE_COST).nan_to_num_(torch.inf)
            wanted = overlap.topk(most, dim=1).values.sum(1).long().clamp(min=1)
            dearest = cost.topk(most, dim=1, largest=False).values.gather(1, wanted.unsqueeze(1) - 1)
            taken, cell = (cost <= dearest).nonzero(as_tuple=True)
            # Of equals at the limit the lower anchors: topk itself may take any of them.
            kept = rank_in_group(taken, cost[taken, cell]) < wanted[taken]
            taken, cell = taken[kept], cell[kept]
            pairs.append((taken + begin, cell, cost[taken, cell], overlap[taken, cell]))
        taken, cell, cost, overlap = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return taken, cell, cost, overlap


def _rows_at_once(columns: int) -> int:
    """Rows of a table that is worked on in parts, so that memory does not grow with the number of objects."""
    return max(1, _TABLE_SIZE // max(columns, 1))


def _class_cost(cls_logits: Tensor, obj_logits: Tensor) -> Tensor:
    """(C, K) binary cross entropy, summed over all classes, of K anchors with the one-hot labels of C classes."""
    log_on = (functional.logsigmoid(cls_logits) + functional.logsigmoid(obj_logits).unsqueeze(-1)) / 2
    log_off = (-log_on.expm1()).log().clamp(min=_LOG_FLOOR)
    log_on = log_on.clamp(min=_LOG_FLOOR)
    # All classes are off, but the object's own is on.
    return (log_off - log_on).T - log_off.sum(-1)

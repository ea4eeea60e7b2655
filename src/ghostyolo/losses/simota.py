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

from ghostyolo.data.targets import Targets, check_labels
from ghostyolo.errors import ConfigError
from ghostyolo.losses.iou import iou_aligned
from ghostyolo.losses.task_aligned import Assignment

# An anchor outside an object's box or middle is taken only after all that are inside both.
_OUTSIDE_COST = 1e5
# Probabilities are kept this far from 0 and 1, so that a cost is a number.
_LOG_FLOOR = -100.0


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
        sides = targets.boxes_xyxy[..., 2:] - targets.boxes_xyxy[..., :2]
        real = targets.mask & (sides > 0).all(-1)
        check_labels(targets.labels[real], classes)
        assigned = Assignment(
            torch.zeros(batch, anchors, dtype=torch.bool, device=device),
            torch.zeros(batch, anchors, 4, dtype=dtype, device=device),
            torch.zeros(batch, anchors, classes, dtype=dtype, device=device),
            torch.full((batch, anchors), -1, dtype=torch.long, device=device),
        )
        for picture in range(batch):
            rows = real[picture].nonzero().squeeze(1)
            objects_xyxy = targets.boxes_xyxy[picture, rows].to(dtype)
            labels = targets.labels[picture, rows]
            in_either, in_both = self._near(objects_xyxy, centers.to(dtype), strides.to(dtype))
            cells = in_either.any(0).nonzero().squeeze(1)
            if not len(cells):
                continue
            overlap = iou_aligned(boxes_xyxy[picture, cells].unsqueeze(0), objects_xyxy.unsqueeze(1)).nan_to_num(0)
            cost = (
                _class_cost(cls_logits[picture, cells].to(dtype), obj_logits[picture, cells].to(dtype), labels)
                - self.iou_gain * (overlap + 1e-8).log()
            )
            chosen, winner = self._choose(cost, in_both[:, cells], overlap)
            cells, winner = cells[chosen], winner[chosen]
            assigned.foreground[picture, cells] = True
            assigned.boxes_xyxy[picture, cells] = objects_xyxy[winner]
            assigned.cls_targets[picture, cells, labels[winner]] = overlap[winner, chosen.nonzero().squeeze(1)]
            assigned.object_index[picture, cells] = rows[winner]
        return assigned

    def _near(self, objects_xyxy: Tensor, centers: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
        """(N, A) bool: the anchor's centre lies in the object's box or middle square; in both."""
        low, high = objects_xyxy.unsqueeze(1).chunk(2, -1)
        in_box = ((centers > low) & (centers < high)).all(-1)
        in_square = ((centers - (low + high) / 2).abs() < self.center_radius * strides).all(-1)
        return in_box | in_square, in_box & in_square

    def _choose(self, cost: Tensor, in_both: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor]:
        """(K,) bool whether an anchor is taken, and (K,) by which object, from (N, K) tensors."""
        # In float64, where the large penalty leaves the digits by which the anchors outside differ.
        cost = cost.double() + _OUTSIDE_COST * ~in_both
        most = min(self.topk, cost.shape[1])
        wanted = overlap.topk(most, dim=1).values.sum(1).long().clamp(min=1)
        # A stable sort, because topk may take any of equals.
        cheapest = cost.sort(dim=1, stable=True).indices[:, :most]
        takes = torch.arange(most, device=cost.device) < wanted.unsqueeze(1)
        taken = torch.zeros_like(in_both).scatter_(1, cheapest, takes)
        return taken.any(0), cost.masked_fill(~taken, torch.inf).argmin(0)


def _class_cost(cls_logits: Tensor, obj_logits: Tensor, labels: Tensor) -> Tensor:
    """(N, K) binary cross entropy, summed over the classes, of K anchors with the one-hot labels of N objects."""
    log_on = (functional.logsigmoid(cls_logits) + functional.logsigmoid(obj_logits).unsqueeze(-1)) / 2
    log_off = (-log_on.expm1()).log().clamp(min=_LOG_FLOOR)
    log_on = log_on.clamp(min=_LOG_FLOOR)
    # All classes are off, but the object's own is on: nothing of size N x K x C is made.
    return (log_off - log_on).T[labels] - log_off.sum(-1)

"""The criterion of heads that predict box sides as distributions.

CIoU for boxes, BCE for classes, distribution focal loss for sides.

Anchors learn what `TaskAlignedAssigner` gives them; soft targets weigh the box parts too. All parts are
divided by the sum of the soft targets (at least 1). Shapes: B pictures, A anchors, C classes.
Sources: YOLOv8's published recipe (7.5 CIoU + 0.5 BCE + 1.5 DFL), as YOLOv13 uses it (arXiv 2506.17733); distribution
focal loss: Li et al., 2020, "Generalized Focal Loss" (arXiv 2006.04388), equation 6: a side's distribution peaks at the
two bins around its true distance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError
from ghostyolo.losses.iou import iou_aligned
from ghostyolo.losses.registry import register_criterion
from ghostyolo.losses.task_aligned import TaskAlignedAssigner, class_weight, object_weight
from ghostyolo.nn.boxes import decode_distances, encode_ltrb, expected_distance

if TYPE_CHECKING:
    from ghostyolo.models.heads.outputs import DflOutput

# The highest target stays this far below the last bin, so that a bin to its right always exists.
LAST_BIN_MARGIN = 0.01


def distribution_focal_loss(box_logits: Tensor, distances: Tensor, bins: int) -> Tensor:
    """Cross entropy of the two bins around each distance, weighted by nearness.

    Args:
        box_logits: (N, 4 x bins); left, top, right, bottom. Computed in float32 at least.
        distances: (N, 4) true distances in strides; clamped to 0 .. bins - 1 - 0.01.
        bins: number of bins of each side, at least 2.

    Returns:
        (N,) mean over the four sides.
    """
    dtype = torch.promote_types(box_logits.dtype, torch.float32)
    log_probabilities = box_logits.to(dtype).unflatten(-1, (4, bins)).log_softmax(-1)
    positions = distances.to(dtype).clamp(0, bins - 1 - LAST_BIN_MARGIN)
    lower = positions.floor()
    upper_share = positions - lower
    around = lower.long().unsqueeze(-1) + torch.arange(2, device=positions.device)
    shares = torch.stack((1 - upper_share, upper_share), -1)
    return -(log_probabilities.gather(-1, around) * shares).sum(-1).mean(-1)


class DflCriterion(nn.Module):
    """Loss of a `DflOutput`; holds no parameters.

    Args:
        num_classes: classes of the head.
        bins: bins of each side.
        box_gain: weight of the CIoU loss.
        cls_gain: weight of the class loss.
        dfl_gain: weight of the distribution focal loss.
        assigner: who learns what; the default is that of YOLOv8.

    Raises:
        ConfigError: fewer than 1 class or 2 bins.
    """

    parts = ("box", "cls", "dfl")
    takes_known = True

    def __init__(
        self,
        num_classes: int,
        bins: int = 16,
        box_gain: float = 7.5,
        cls_gain: float = 0.5,
        dfl_gain: float = 1.5,
        assigner: TaskAlignedAssigner | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1 or bins < 2:
            raise ConfigError(
                f"the criterion needs 1 class and 2 bins at least, not {num_classes} classes and {bins} bins"
            )
        self.num_classes = num_classes
        self.bins = bins
        self.box_gain = box_gain
        self.cls_gain = cls_gain
        self.dfl_gain = dfl_gain
        self.assigner = assigner or TaskAlignedAssigner()

    def forward(self, output: DflOutput, targets: Targets) -> dict[str, Tensor]:
        """Loss of one batch, in float32 whatever autocast says (float64 stays float64).

        Args:
            output: raw predictions.
            targets: objects, pixels of the network's input; a batch without objects is fine.

        Returns:
            Scalars: "loss" to backpropagate, the sum of the parts x B; and "box", "cls", "dfl", the weighted
            parts (not x B), detached.

        Raises:
            ConfigError: the output's classes or bins are not those of the criterion.
            DataError: a label is not a class of the head.
        """
        self._check(output)
        with torch.autocast(output.cls_logits.device.type, enabled=False):
            box, cls, dfl = self._parts(output, targets)
        batch = len(output.cls_logits)
        parts = {"box": box.detach(), "cls": cls.detach(), "dfl": dfl.detach()}
        return {"loss": (box + cls + dfl) * batch, **parts}

    def _parts(self, output: DflOutput, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        dtype = torch.promote_types(output.box_logits.dtype, torch.float32)
        cls_logits = output.cls_logits.to(dtype)
        centers, strides = output.centers.to(dtype), output.strides.to(dtype)
        with torch.no_grad():
            distances = expected_distance(output.box_logits.to(dtype), self.bins)
            predicted_xyxy = decode_distances(centers, distances, strides)
        assigned = self.assigner(cls_logits, predicted_xyxy, centers, strides, targets)
        total = assigned.cls_targets.sum().clamp(min=1)

        weight = class_weight(targets, assigned.foreground, centers, cls_logits)
        rarity = object_weight(targets, assigned)
        if rarity is not None:
            weight = rarity.unsqueeze(-1) if weight is None else weight * rarity.unsqueeze(-1)
        cls = functional.binary_cross_entropy_with_logits(
            cls_logits, assigned.cls_targets, weight=weight, reduction="sum"
        )

        # The foreground alone is decoded again, with gradient: backward then skips the other anchors' bins.
        cells = assigned.foreground.flatten().nonzero().squeeze(1)
        anchors = cells % len(centers)
        logits = output.box_logits.flatten(0, 1).index_select(0, cells).to(dtype)
        centers, strides = centers[anchors], strides[anchors]
        true_xyxy = assigned.boxes_xyxy.flatten(0, 1)[cells]
        weights = assigned.cls_targets.flatten(0, 1)[cells].sum(-1)
        boxes_xyxy = decode_distances(centers, expected_distance(logits, self.bins), strides)
        box = ((1 - iou_aligned(boxes_xyxy, true_xyxy, "ciou")) * weights).sum()
        # A prediction that is not a number overlaps nothing and would pass as background: let it show.
        box = box + 0 * predicted_xyxy.sum()
        true_distances = encode_ltrb(centers, true_xyxy) / strides
        dfl = (distribution_focal_loss(logits, true_distances, self.bins) * weights).sum()
        return self.box_gain * box / total, self.cls_gain * cls / total, self.dfl_gain * dfl / total

    def _check(self, output: DflOutput) -> None:
        classes, logits = output.cls_logits.shape[-1], output.box_logits.shape[-1]
        if classes != self.num_classes or logits != 4 * self.bins:
            raise ConfigError(
                f"the criterion expects {self.num_classes} classes and 4 x {self.bins} box logits, "
                f"the head gave {classes} and {logits}"
            )


@register_criterion("dfl")
def dfl_criterion(head: Any) -> DflCriterion:
    """Build the criterion of a distribution head."""
    return DflCriterion(head.num_classes, bins=head.bins)

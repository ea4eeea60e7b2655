"""The criterion of YOLOX's head.

IoU for boxes, BCE for objectness and classes, L1 in the last epochs.

Anchors learn what `SimOtaAssigner` gives them. All parts are divided by the number of foreground anchors (at least 1).
Shapes: B pictures, A anchors, C classes. Source: Ge et al., 2021, "YOLOX" (arXiv 2107.08430), sections 2.1 and 3, and
its published recipe: 5 IoU + objectness + class (target: one-hot x IoU), and L1 once mosaic is switched off.
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
from ghostyolo.losses.simota import SimOtaAssigner
from ghostyolo.losses.task_aligned import class_weight, object_weight
from ghostyolo.nn.boxes import decode_offsets, encode_offsets

if TYPE_CHECKING:
    from ghostyolo.models.heads.outputs import YoloXOutput


class YoloXCriterion(nn.Module):
    """Loss of a `YoloXOutput`; holds no parameters.

    Args:
        num_classes: classes of the head.
        iou_gain: weight of the box loss 1 - IoU^2.
        assigner: who learns what; the default is that of YOLOX.

    Attributes:
        with_l1: whether the raw box offsets learn by L1 too; :meth:`begin_epoch` sets it.

    Raises:
        ConfigError: fewer than 1 class.
    """

    parts = ("iou", "obj", "cls", "l1")

    def __init__(self, num_classes: int, iou_gain: float = 5.0, assigner: SimOtaAssigner | None = None) -> None:
        super().__init__()
        if num_classes < 1:
            raise ConfigError(f"the criterion needs 1 class at least, not {num_classes}")
        self.num_classes = num_classes
        self.iou_gain = iou_gain
        self.assigner = assigner or SimOtaAssigner()
        self.with_l1 = False

    def begin_epoch(self, epoch: int, epochs: int, close_mosaic: int) -> None:
        """Add L1 in the epochs without mosaic; see :class:`ghostyolo.losses.registry.FollowsEpochs`."""
        self.with_l1 = epoch >= epochs - close_mosaic

    def forward(self, output: YoloXOutput, targets: Targets) -> dict[str, Tensor]:
        """Loss of one batch, in float32 whatever autocast says (float64 stays float64).

        Args:
            output: raw predictions.
            targets: objects, pixels of the network's input; a batch without objects is fine.

        Returns:
            Scalars: "loss" to backpropagate, the sum of the parts x B; and "iou", "obj", "cls", "l1", the weighted
            parts (not x B), detached; "l1" is 0 until its epochs.

        Raises:
            ConfigError: the output's classes are not those of the criterion.
            DataError: a label is not a class of the head.
        """
        classes = output.cls_logits.shape[-1]
        if classes != self.num_classes:
            raise ConfigError(f"the criterion expects {self.num_classes} classes, the head gave {classes}")
        with torch.autocast(output.cls_logits.device.type, enabled=False):
            parts = dict(zip(self.parts, self._parts(output, targets), strict=True))
        loss = torch.stack(list(parts.values())).sum() * len(output.cls_logits)
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def _parts(self, output: YoloXOutput, targets: Targets) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dtype = torch.promote_types(output.box_offsets.dtype, torch.float32)
        cls_logits, obj_logits = output.cls_logits.to(dtype), output.obj_logits.to(dtype)
        centers, strides = output.centers.to(dtype), output.strides.to(dtype)
        with torch.no_grad():
            predicted_xyxy = decode_offsets(centers, output.box_offsets, strides)
        assigned = self.assigner(cls_logits, obj_logits, predicted_xyxy, centers, strides, targets)
        total = assigned.foreground.sum().clamp(min=1)
        weight = class_weight(targets, assigned.foreground, centers, cls_logits)
        obj = functional.binary_cross_entropy_with_logits(
            obj_logits,
            assigned.foreground.to(dtype),
            # What is to be ignored as one class is no background of objects at all.
            weight=None if weight is None else weight.amin(-1),
            reduction="sum",
        )

        rarity = object_weight(targets, assigned)

        # The foreground alone is decoded again, with gradient.
        cells = assigned.foreground.flatten().nonzero().squeeze(1)
        anchors = cells % len(centers)
        centers, strides = centers[anchors], strides[anchors]
        offsets = output.box_offsets.flatten(0, 1).index_select(0, cells).to(dtype)
        true_xyxy = assigned.boxes_xyxy.flatten(0, 1)[cells]
        overlap = iou_aligned(decode_offsets(centers, offsets, strides), true_xyxy)
        # A prediction that is not a number overlaps nothing and would pass as background: let it show.
        iou = (1 - overlap**2).sum() + 0 * predicted_xyxy.sum()
        cls = functional.binary_cross_entropy_with_logits(
            cls_logits.flatten(0, 1).index_select(0, cells),
            assigned.cls_targets.flatten(0, 1)[cells],
            weight=None if rarity is None else rarity.flatten()[cells].unsqueeze(-1),
            reduction="sum",
        )
        l1 = iou.new_zeros(())
        if self.with_l1:
            l1 = (offsets - encode_offsets(centers, true_xyxy, strides)).abs().sum()
        return self.iou_gain * iou / total, obj / total, cls / total, l1 / total


@register_criterion("yolox")
def yolox_criterion(head: Any) -> YoloXCriterion:
    """The criterion of :class:`ghostyolo.models.heads.yolox.YoloXHead`."""
    return YoloXCriterion(head.num_classes)

"""The criterion of the anchor head: CIoU for boxes, BCE for objectness and classes.

Each level's matches teach its boxes and classes; every prediction's objectness learns the IoU that it reaches, 0 where
it has no match. Per level the box and class losses are means over matches, the objectness loss is a mean over all
predictions, weighted by level. Gains are those published for 640 x 640 pixels, 80 classes and three levels, scaled as
published: classes by C / 80 (so that one class's logit weighs the same for any C), objectness by the picture's area
over 640^2 (so that one cell weighs the same in any picture), and all by 3 / levels.
Shapes: B pictures, N anchors a cell, P matches, C classes. Sources: YOLOv5's published recipe, YOLOv7-tiny's (the same
gains); the matching is in `anchor_assigner`, with YOLOv7's choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError, suggest
from ghostyolo.losses.anchor_assigner import Matches, cheapest_matches, match_by_ratio, match_costs
from ghostyolo.losses.iou import iou_aligned
from ghostyolo.losses.registry import register_criterion
from ghostyolo.nn.boxes import cell_centers, decode_anchors

if TYPE_CHECKING:
    from ghostyolo.models.heads.outputs import AnchorOutput

# Finer levels have more predictions, so each of theirs has less of a mean: these even it out.
LEVEL_WEIGHTS = {3: (4.0, 1.0, 0.4)}
LEVEL_WEIGHTS_OTHER = (4.0, 1.0, 0.25, 0.06, 0.02)


class AnchorCriterion(nn.Module):
    """Loss of an `AnchorOutput`; holds no parameters.

    Args:
        num_classes: classes of the head. With one there is no class loss: objectness says all.
        assign: "ratio", all matches learn (YOLOv5), or "ota", the cheapest (YOLOv7).
        box_gain: weight of the CIoU loss.
        obj_gain: weight of the objectness loss, at 640 x 640 pixels.
        cls_gain: weight of the class loss, for 80 classes.

    Raises:
        ConfigError: fewer than 1 class, or an unknown assignment.
    """

    parts = ("box", "obj", "cls")

    def __init__(
        self,
        num_classes: int,
        assign: str = "ratio",
        box_gain: float = 0.05,
        obj_gain: float = 1.0,
        cls_gain: float = 0.5,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ConfigError(f"the criterion needs 1 class at least, not {num_classes}")
        if assign not in ("ratio", "ota"):
            raise ConfigError(f"assignment '{assign}' of the criterion is unknown: {suggest(assign, ('ratio', 'ota'))}")
        self.num_classes, self.assign = num_classes, assign
        self.box_gain, self.obj_gain, self.cls_gain = box_gain, obj_gain, cls_gain

    def forward(self, output: AnchorOutput, targets: Targets) -> dict[str, Tensor]:
        """Loss of one batch, in float32 whatever autocast says (float64 stays float64).

        Args:
            output: raw predictions.
            targets: objects, pixels of the network's input; a batch without objects is fine.

        Returns:
            Scalars: "loss" to backpropagate, the sum of the parts x B; and "box", "obj", "cls", the weighted parts
            (not x B), detached.

        Raises:
            ConfigError: the output's classes are not those of the criterion, or it has more than five levels.
            DataError: a label is not a class of the head.
        """
        self._check(output)
        with torch.autocast(output.logits[0].device.type, enabled=False):
            box, obj, cls = self._parts(output, targets)
        parts = {"box": box.detach(), "obj": obj.detach(), "cls": cls.detach()}
        return {"loss": (box + obj + cls) * len(output.logits[0]), **parts}

    def _parts(self, output: AnchorOutput, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        dtype = torch.promote_types(output.logits[0].dtype, torch.float32)
        image, row = targets.real()
        objects_xyxy, labels = targets.boxes_xyxy[image, row].to(dtype), targets.labels[image, row]
        targets.check(self.num_classes)
        shapes = [(logits.shape[-2], logits.shape[-1]) for logits in output.logits]
        matches = match_by_ratio(objects_xyxy, image, output.anchors, output.strides, shapes)
        logits = _at_matches(output, matches).to(dtype)
        if self.assign == "ota":
            with torch.no_grad():
                overlap = iou_aligned(_boxes(logits, output, matches), objects_xyxy[matches.objects])
                costs = match_costs(logits, labels[matches.objects], overlap)
                kept = cheapest_matches(matches, costs, overlap, len(labels))
            matches, logits = matches.select(kept), logits[kept]

        levels = len(output.logits)
        each_level = (matches.level.unsqueeze(1) == torch.arange(levels, device=matches.level.device)).sum(0)
        share = 1 / each_level[matches.level].to(dtype)  # a mean over the level's matches
        boxes_xyxy, true_xyxy = _boxes(logits, output, matches), objects_xyxy[matches.objects]
        box = ((1 - iou_aligned(boxes_xyxy, true_xyxy, "ciou")) * share).sum()
        cls = logits.new_zeros(())
        if self.num_classes > 1:
            learned = labels[matches.objects]
            one_hot = functional.one_hot(learned, self.num_classes).to(dtype)
            by_class = functional.binary_cross_entropy_with_logits(logits[:, 5:], one_hot, reduction="none")
            rarity = 1 if targets.class_weights is None else targets.class_weights[learned]
            cls = (by_class.mean(-1) * share * rarity).sum()
        obj = self._objectness(output, matches, iou_aligned(boxes_xyxy.detach(), true_xyxy), targets)

        gain = 3 / levels
        area = shapes[0][0] * shapes[0][1] * output.strides[0] ** 2
        return (
            box * (self.box_gain * gain),
            obj * (self.obj_gain * gain * area / 640**2),
            cls * (self.cls_gain * gain * self.num_classes / 80),
        )

    def _objectness(self, output: AnchorOutput, matches: Matches, overlap: Tensor, targets: Targets) -> Tensor:
        """Weighted sum of the levels' mean losses; of several objects at one prediction the best overlap is taught."""
        levels = len(output.logits)
        total = overlap.new_zeros(())
        for level, weight in enumerate(LEVEL_WEIGHTS.get(levels, LEVEL_WEIGHTS_OTHER[:levels])):
            logits = output.logits[level][:, :, 4].to(overlap.dtype)
            here = matches.level == level
            image, anchor, row, column = (
                values[here] for values in (matches.image, matches.anchor, matches.row, matches.column)
            )
            _, anchors, rows, columns = logits.shape
            place = ((image * anchors + anchor) * rows + row) * columns + column
            taught = logits.new_zeros(logits.numel()).scatter_reduce(0, place, overlap[here], "amax")
            learns = torch.zeros(logits.numel(), dtype=torch.bool, device=logits.device)
            learns[place] = True
            loss = functional.binary_cross_entropy_with_logits(
                logits, taught.view_as(logits), weight=self._cell_weight(targets, learns.view_as(logits), output, level)
            )
            total = total + weight * loss
        return total

    def _cell_weight(self, targets: Targets, learns: Tensor, output: AnchorOutput, level: int) -> Tensor | None:
        """Weight (B, N, H, W) of a level's objectness: 0 in a region to ignore where no object is learned, else 1."""
        centers, _ = cell_centers([output.logits[level][:, 0]], output.strides[level : level + 1])
        background = targets.background(centers, self.num_classes)
        if background is None:
            return None
        return (background.all(-1).view(-1, 1, *learns.shape[-2:]) | learns).to(output.logits[level].dtype)

    def _check(self, output: AnchorOutput) -> None:
        classes = output.logits[0].shape[2] - 5
        if classes != self.num_classes:
            raise ConfigError(f"the criterion expects {self.num_classes} classes, the head gave {classes}")
        if len(output.logits) > len(LEVEL_WEIGHTS_OTHER):
            raise ConfigError(f"the anchor criterion has weights for at most five levels, got {len(output.logits)}")


def _at_matches(output: AnchorOutput, matches: Matches) -> Tensor:
    """(P, 5 + C) logits of the matches' predictions."""
    levels = []
    for level, logits in enumerate(output.logits):
        here = matches.select(matches.level == level)
        levels.append(logits[here.image, here.anchor, :, here.row, here.column])
    return torch.cat(levels)


def _boxes(logits: Tensor, output: AnchorOutput, matches: Matches) -> Tensor:
    """(P, 4) predicted corners in pixels."""
    cells = torch.stack((matches.column, matches.row), -1).to(logits.dtype)
    anchors = output.anchors[matches.level, matches.anchor].to(logits.dtype)
    strides = torch.tensor(output.strides, device=logits.device, dtype=logits.dtype)[matches.level].unsqueeze(1)
    return decode_anchors(logits[:, :4], cells, anchors, strides)


@register_criterion("anchor")
def anchor_criterion(head: Any) -> AnchorCriterion:
    """The criterion of :class:`ghostyolo.models.heads.anchor.AnchorHead`."""
    return AnchorCriterion(head.num_classes, head.assign)

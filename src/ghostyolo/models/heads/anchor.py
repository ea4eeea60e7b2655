"""The anchor-based head of YOLOv5 and YOLOv7.

One 1x1 convolution a level, boxes relative to cells and anchors.

With logits t of a cell at (column, row) and an anchor of size (w, h)::

    centre = (2 sigmoid(t_xy) - 0.5 + cell) x stride        size = (2 sigmoid(t_wh))^2 x anchor

so that a centre lies at most half a cell beside its own cell, and a size is 0 to 4 times its anchor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast, get_args

import torch
from torch import Tensor, nn

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.models.default_anchors import check_anchors, default_anchors
from ghostyolo.models.heads.base import Head
from ghostyolo.models.heads.outputs import AnchorAssignment, AnchorOutput
from ghostyolo.models.registry import register_head
from ghostyolo.nn.boxes import decode_anchors


@register_head("anchor")
class AnchorHead(Head):
    """A head that predicts boxes relative to anchors.

    In training returns :class:`AnchorOutput`, else boxes (B, A, 4) xyxy in input pixels and scores (B, A, classes).

    Scores are objectness x class, in 0..1. A counts the cells of P3, then P4, then P5, each once for each anchor: all
    cells of a level's first anchor row by row, then those of its second, and so on.

    Args:
        in_channels: of the neck's levels.
        strides: pixels per cell of each level.
        anchors: one list a level of [width, height] in pixels, as many on each; None: COCO's, three a level.
        assign: which matches learn an object: "ratio" all (YOLOv5), "ota" the cheapest (YOLOv7).

    Raises:
        ConfigError: anchors that do not fit the levels, or an unknown assignment.
    """

    criterion = "anchor"
    anchors: Tensor

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        anchors: Sequence[Sequence[Sequence[float]]] | None = None,
        assign: AnchorAssignment = "ratio",
    ) -> None:
        super().__init__()
        if assign not in get_args(AnchorAssignment):
            raise ConfigError(f"head 'anchor': assign '{assign}' is unknown: {suggest(str(assign), ('ota', 'ratio'))}")
        self.num_classes, self.strides, self.assign = num_classes, tuple(strides), assign
        sizes = default_anchors(self.strides) if anchors is None else check_anchors(anchors, len(self.strides))
        # Not in the weights: the declaration holds them, or the defaults do.
        self.register_buffer("anchors", torch.tensor(sizes), persistent=False)
        outputs = len(sizes[0]) * (5 + num_classes)
        self.predict = nn.ModuleList(nn.Conv2d(channels, outputs, 1) for channels in in_channels)
        self.reset_biases()

    def set_anchors(self, anchors: Sequence[Sequence[Sequence[float]]]) -> None:
        """Take other anchors, as many as there are.

        Raises:
            ConfigError: another number of them.
        """
        sizes = self.anchors.new_tensor(check_anchors(anchors, len(self.strides)))
        if sizes.shape != self.anchors.shape:
            raise ConfigError(f"the head has {self.anchors.shape[1]} anchors a level, {sizes.shape[1]} were given")
        self.anchors.copy_(sizes)

    def reset_biases(self) -> None:
        """Set the biases to few objects and equal classes.

        About eight objects in a 640 x 640 picture, and classes that share a probability of 0.6.

        With one class its probability starts at one, and the criterion leaves it there: objectness is the score.
        """
        # The published prior, log(0.6 / (classes - 1)) kept finite for one class.
        class_prior = math.log(0.6 / (self.num_classes - 0.99999))
        for layer, stride in zip(self.predict, self.strides, strict=True):
            conv = cast(nn.Conv2d, layer)
            with torch.no_grad():
                bias = cast(Tensor, conv.bias).view(self.anchors.shape[1], -1)
                bias[:, 4] = math.log(8 / (640 / stride) ** 2)
                bias[:, 5:] = class_prior

    def walk(self, features: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        return [(predict(feature),) for predict, feature in zip(self.predict, features, strict=True)]

    def arrange(self, levels: list[tuple[Tensor, ...]], features: Sequence[Tensor]) -> AnchorOutput:
        shape = (self.anchors.shape[1], 5 + self.num_classes)
        return AnchorOutput([level.unflatten(1, shape) for (level,) in levels], self.anchors, self.strides)

    def decode(self, output: AnchorOutput) -> tuple[Tensor, Tensor]:
        """Boxes (B, A, 4) xyxy in input pixels, scores (B, A, classes) in 0..1."""
        boxes, scores = [], []
        for level, (logits, stride) in enumerate(zip(output.logits, output.strides, strict=True)):
            # Half precision would round boxes to whole pixels from 1024 on.
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            height, width = logits.shape[-2:]
            rows = torch.arange(height, device=logits.device, dtype=logits.dtype)
            columns = torch.arange(width, device=logits.device, dtype=logits.dtype)
            row, column = torch.meshgrid(rows, columns, indexing="ij")
            cells = torch.stack((column, row), -1).reshape(-1, 2)
            flat = logits.flatten(3).transpose(2, 3)
            anchors = output.anchors[level].to(logits.dtype).unsqueeze(1)
            boxes.append(decode_anchors(flat[..., :4], cells, anchors, stride).flatten(1, 2))
            scores.append((flat[..., 4:5].sigmoid() * flat[..., 5:].sigmoid()).flatten(1, 2))
        return torch.cat(boxes, 1), torch.cat(scores, 1)

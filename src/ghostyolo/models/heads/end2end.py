"""The head that needs no NMS, by dual label assignment.

Source: Wang et al., 2024, "YOLOv10", arXiv 2405.14458, section 3.1.

Two equal sets of branches read the same maps. In training one learns from many cells an object, the other from one cell
an object, on detached maps: the rich assignment alone shapes backbone and neck. On the device only the second is left.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ghostyolo.models.heads.dfl import DflHead
from ghostyolo.models.heads.light import LightHead
from ghostyolo.models.heads.outputs import EndToEndOutput
from ghostyolo.models.registry import register_head
from ghostyolo.nn.reparam import fold


class EndToEndHead(nn.Module):
    """Two distribution heads of one kind, ``one_to_many`` and ``one_to_one``.

    In training returns :class:`EndToEndOutput`, else the boxes (B, A, 4) xyxy in input pixels and scores
    (B, A, classes) of the one-to-one branch. ``fuse()`` leaves that branch alone.

    Args:
        kind: the head's class, such as :class:`DflHead`.
        params: its parameters.
    """

    criterion = "end2end"
    needs_nms = False
    knows_containers = True  # fuse() folds the branches of what it keeps

    def __init__(self, kind: type[DflHead], **params: Any) -> None:
        super().__init__()
        self.one_to_many, self.one_to_one = kind(**params), kind(**params)
        self.one_to_one.needs_nms = False
        self.num_classes, self.bins = self.one_to_one.num_classes, self.one_to_one.bins

    def forward(self, features: Sequence[Tensor]) -> EndToEndOutput | tuple[Tensor, Tensor]:
        if self.training:
            return self.collect(features)
        return self.one_to_one.decode(self.one_to_one.collect(features))

    def collect(self, features: Sequence[Tensor]) -> EndToEndOutput:
        """Return the raw predictions of both branches."""
        detached = [feature.detach() for feature in features]
        return EndToEndOutput(self.one_to_many.collect(features), self.one_to_one.collect(detached))

    def fuse(self) -> nn.Module:
        return fold(self.one_to_one)


def _end_to_end(kind: type[DflHead]) -> Callable[..., EndToEndHead]:
    """A builder with the parameters of the head that it doubles."""

    def build(**params: Any) -> EndToEndHead:
        return EndToEndHead(kind, **params)

    build.__signature__ = inspect.signature(kind)  # type: ignore[attr-defined]
    return build


register_head("end2end")(_end_to_end(DflHead))
register_head("light_end2end")(_end_to_end(LightHead))

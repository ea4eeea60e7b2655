"""The head that needs no NMS: dual label assignment (Wang et al., 2024, "YOLOv10", arXiv 2405.14458, section 3.1).

Two equal sets of branches read the same maps. In training one learns from many cells an object, the other from one cell
an object, on detached maps: the rich assignment alone shapes backbone and neck. On the device only the second is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ghostyolo.models.heads.dfl import DflHead
from ghostyolo.models.heads.outputs import EndToEndOutput
from ghostyolo.models.registry import register_head
from ghostyolo.nn.reparam import fold


class OneToOneHead(DflHead):
    """A distribution head that was taught to find each object once."""

    needs_nms = False


@register_head("end2end")
class EndToEndHead(nn.Module):
    """Two :class:`DflHead` branches, ``one_to_many`` and ``one_to_one``.

    In training returns :class:`EndToEndOutput`, else the boxes (B, A, 4) xyxy in input pixels and scores
    (B, A, classes) of the one-to-one branch. ``fuse()`` leaves that branch alone.

    Args:
        in_channels, strides, bins, cls_depthwise: see :class:`DflHead`.
    """

    needs_nms = False

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        bins: int = 16,
        cls_depthwise: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes, self.bins = num_classes, bins

        def branch(kind: type[DflHead]) -> DflHead:
            return kind(
                in_channels=in_channels,
                strides=strides,
                num_classes=num_classes,
                bins=bins,
                cls_depthwise=cls_depthwise,
            )

        self.one_to_many, self.one_to_one = branch(DflHead), branch(OneToOneHead)

    def forward(self, features: Sequence[Tensor]) -> EndToEndOutput | tuple[Tensor, Tensor]:
        if not self.training:
            return self.one_to_one.decode(self.one_to_one.collect(features))
        return self.collect(features)

    def collect(self, features: Sequence[Tensor]) -> EndToEndOutput:
        """Raw predictions of both branches."""
        detached = [feature.detach() for feature in features]
        return EndToEndOutput(self.one_to_many.collect(features), self.one_to_one.collect(detached))

    def fuse(self) -> nn.Module:
        return fold(self.one_to_one)

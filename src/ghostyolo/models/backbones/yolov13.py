"""YOLOv13's own backbone (arXiv 2506.17733).

The n graph layer by layer, other scales by width and depth.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ghostyolo.models.registry import register_backbone
from ghostyolo.nn.blocks import A2C2f, Conv, DSC3k2, DSConv
from ghostyolo.nn.channels import scale_channels, scale_repeats

# n, s, l, x as published (arXiv 2506.17733); p and m are ours.
_SCALES: dict[str, dict[str, Any]] = {
    "p": {"depth": 0.5, "width": 0.125, "max_channels": 1024, "large": False},
    "n": {"depth": 0.5, "width": 0.25, "max_channels": 1024, "large": False},
    "s": {"depth": 0.5, "width": 0.5, "max_channels": 1024, "large": False},
    "m": {"depth": 0.5, "width": 0.75, "max_channels": 768, "large": False},
    "l": {"depth": 1.0, "width": 1.0, "max_channels": 512, "large": True},
    "x": {"depth": 1.0, "width": 1.5, "max_channels": 512, "large": True},
}


@register_backbone("yolov13", scales=_SCALES)
class YoloV13Backbone(nn.Module):
    """Dense stem, DSC3k2 at stride 4 and 8, area attention at 16 and 32.

    ``forward`` gives P3, P4, P5: (B, channels[i], H / strides[i], W / strides[i]). H and W must be multiples of 32.

    Args:
        depth, width, max_channels: the scale, see :mod:`ghostyolo.nn.channels`.
        large: l and x: nested inner blocks, attention with residual and MLP ratio 1.5 instead of 2.0.
        in_channels: of the image.
    """

    strides = (8, 16, 32)

    def __init__(
        self,
        *,
        depth: float = 0.5,
        width: float = 0.25,
        max_channels: int = 1024,
        large: bool = False,
        in_channels: int = 3,
    ) -> None:
        super().__init__()

        def channels(count: int) -> int:
            return scale_channels(count, width, max_channels)

        two, four = scale_repeats(2, depth), scale_repeats(4, depth)
        mlp_ratio = 1.5 if large else 2.0
        self.to_stride8 = nn.Sequential(
            Conv(in_channels, channels(64), 3, 2),
            Conv(channels(64), channels(128), 3, 2, groups=2),
            DSC3k2(channels(128), channels(256), two, nested=large, expansion=0.25),
            Conv(channels(256), channels(256), 3, 2, groups=4),
            DSC3k2(channels(256), channels(512), two, nested=large, expansion=0.25),
        )
        self.to_stride16 = nn.Sequential(
            DSConv(channels(512), channels(512), 3, 2),
            A2C2f(channels(512), channels(512), four, 4, mlp_ratio, large),
        )
        self.to_stride32 = nn.Sequential(
            DSConv(channels(512), channels(1024), 3, 2),
            A2C2f(channels(1024), channels(1024), four, 1, mlp_ratio, large),
        )
        self.channels = (channels(512), channels(512), channels(1024))

    def forward(self, image: Tensor) -> list[Tensor]:
        p3 = self.to_stride8(image)
        p4 = self.to_stride16(p3)
        return [p3, p4, self.to_stride32(p4)]

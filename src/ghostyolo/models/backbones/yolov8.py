"""YOLOv8's own backbone (published network, no paper).

A strided 3x3 and C2f at each stride, SPPF at the last.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ghostyolo.models.registry import register_backbone
from ghostyolo.nn.blocks import Conv
from ghostyolo.nn.channels import scale_channels, scale_repeats
from ghostyolo.nn.csp import C2f, Sppf

# n, s, m, l, x as published; p is ours.
SCALES: dict[str, dict[str, Any]] = {
    "p": {"depth": 0.33, "width": 0.125, "max_channels": 1024},
    "n": {"depth": 0.33, "width": 0.25, "max_channels": 1024},
    "s": {"depth": 0.33, "width": 0.5, "max_channels": 1024},
    "m": {"depth": 0.67, "width": 0.75, "max_channels": 768},
    "l": {"depth": 1.0, "width": 1.0, "max_channels": 512},
    "x": {"depth": 1.0, "width": 1.25, "max_channels": 512},
}


@register_backbone("yolov8", scales=SCALES)
class YoloV8Backbone(nn.Module):
    """Dense 3x3 and C2f throughout.

    ``forward`` gives P3, P4, P5: (B, channels[i], H / strides[i], W / strides[i]). H and W must be multiples of 32.

    Args:
        depth, width, max_channels: the scale, see :mod:`ghostyolo.nn.channels`.
        in_channels: of the image.
    """

    strides = (8, 16, 32)

    def __init__(
        self, *, depth: float = 0.33, width: float = 0.25, max_channels: int = 1024, in_channels: int = 3
    ) -> None:
        super().__init__()
        c64, c128, c256, c512, c1024 = (
            scale_channels(count, width, max_channels) for count in (64, 128, 256, 512, 1024)
        )
        three, six = scale_repeats(3, depth), scale_repeats(6, depth)
        self.to_stride8 = nn.Sequential(
            Conv(in_channels, c64, 3, 2),
            Conv(c64, c128, 3, 2),
            C2f(c128, c128, three, shortcut=True),
            Conv(c128, c256, 3, 2),
            C2f(c256, c256, six, shortcut=True),
        )
        self.to_stride16 = nn.Sequential(Conv(c256, c512, 3, 2), C2f(c512, c512, six, shortcut=True))
        self.to_stride32 = nn.Sequential(
            Conv(c512, c1024, 3, 2), C2f(c1024, c1024, three, shortcut=True), Sppf(c1024, c1024)
        )
        self.channels = (c256, c512, c1024)

    def forward(self, image: Tensor) -> list[Tensor]:
        p3 = self.to_stride8(image)
        p4 = self.to_stride16(p3)
        return [p3, p4, self.to_stride32(p4)]

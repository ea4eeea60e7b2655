"""YOLOX's own backbone, a CSPDarknet with a Focus stem.

Source: Ge et al., 2021, arXiv 2107.08430.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ghostyolo.models.registry import register_backbone
from ghostyolo.nn.blocks import Conv
from ghostyolo.nn.channels import scale_channels, scale_repeats
from ghostyolo.nn.csp import C3, Sppf, conv3x3

LARGEST_CHANNELS = 1024
# As published: p is its nano, n its tiny.
SCALES: dict[str, dict[str, Any]] = {
    "p": {"depth": 0.33, "width": 0.25, "depthwise": True},
    "n": {"depth": 0.33, "width": 0.375, "depthwise": False},
    "s": {"depth": 0.33, "width": 0.5, "depthwise": False},
    "m": {"depth": 0.67, "width": 0.75, "depthwise": False},
    "l": {"depth": 1.0, "width": 1.0, "depthwise": False},
    "x": {"depth": 1.33, "width": 1.25, "depthwise": False},
}


@register_backbone("yolox", scales=SCALES)
class YoloXBackbone(nn.Module):
    """The YOLOX backbone.

    Focus stem, then a strided 3x3 and a CSP block at each stride, SPP before the last.

    ``forward`` gives P3, P4, P5: (B, channels[i], H / strides[i], W / strides[i]). H and W must be multiples of 32.

    Args:
        depth, width: the scale, see :mod:`ghostyolo.nn.channels`.
        depthwise: each 3x3 but the stem's is depthwise 3x3 + 1x1 (nano).
        in_channels: of the image.
    """

    strides = (8, 16, 32)

    def __init__(
        self, *, depth: float = 0.33, width: float = 0.5, depthwise: bool = False, in_channels: int = 3
    ) -> None:
        super().__init__()
        c64, c128, c256, c512, c1024 = (
            scale_channels(count, width, LARGEST_CHANNELS) for count in (64, 128, 256, 512, 1024)
        )
        three, nine = scale_repeats(3, depth), scale_repeats(9, depth)
        self.to_stride8 = nn.Sequential(
            # Focus (2 x 2 pixels to channels) and its 3x3 are this convolution, weight by weight, and engines run it
            # several times faster.
            Conv(in_channels, c64, 6, 2),
            conv3x3(c64, c128, 2, depthwise),
            C3(c128, c128, three, depthwise=depthwise),
            conv3x3(c128, c256, 2, depthwise),
            C3(c256, c256, nine, depthwise=depthwise),
        )
        self.to_stride16 = nn.Sequential(conv3x3(c256, c512, 2, depthwise), C3(c512, c512, nine, depthwise=depthwise))
        self.to_stride32 = nn.Sequential(
            conv3x3(c512, c1024, 2, depthwise),
            Sppf(c1024, c1024),
            C3(c1024, c1024, three, shortcut=False, depthwise=depthwise),
        )
        self.channels = (c256, c512, c1024)

    def forward(self, image: Tensor) -> list[Tensor]:
        p3 = self.to_stride8(image)
        p4 = self.to_stride16(p3)
        return [p3, p4, self.to_stride32(p4)]

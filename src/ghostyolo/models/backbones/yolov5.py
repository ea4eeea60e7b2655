"""YOLOv5's own backbone (release 6 and later).

A 6x6 stem, C3 stages and SPPF; scales by width and depth.
"""

from __future__ import annotations

from torch import Tensor, nn

from ghostyolo.models.registry import register_backbone
from ghostyolo.nn.blocks import Conv
from ghostyolo.nn.channels import scale_channels, scale_repeats
from ghostyolo.nn.csp import C3, Sppf

MAX_CHANNELS = 1024  # of an unscaled layer; YOLOv5 has no lower limit in any scale

# n, s, m, l, x as published; p is ours.
SCALES = {
    "p": {"depth": 0.33, "width": 0.125},
    "n": {"depth": 0.33, "width": 0.25},
    "s": {"depth": 0.33, "width": 0.5},
    "m": {"depth": 0.67, "width": 0.75},
    "l": {"depth": 1.0, "width": 1.0},
    "x": {"depth": 1.33, "width": 1.25},
}


@register_backbone("yolov5", scales=SCALES)
class YoloV5Backbone(nn.Module):
    """The YOLOv5 backbone.

    ``forward`` gives P3, P4, P5: (B, channels[i], H / strides[i], W / strides[i]). H and W are multiples of 32.

    Args:
        depth, width: the scale, see :mod:`ghostyolo.nn.channels`.
        in_channels: of the image.
    """

    strides = (8, 16, 32)

    def __init__(self, *, depth: float = 0.33, width: float = 0.25, in_channels: int = 3) -> None:
        super().__init__()
        c64, c128, c256, c512, c1024 = (
            scale_channels(count, width, MAX_CHANNELS) for count in (64, 128, 256, 512, 1024)
        )
        three, six, nine = (scale_repeats(count, depth) for count in (3, 6, 9))
        self.to_stride8 = nn.Sequential(
            Conv(in_channels, c64, 6, 2),
            Conv(c64, c128, 3, 2),
            C3(c128, c128, three),
            Conv(c128, c256, 3, 2),
            C3(c256, c256, six),
        )
        self.to_stride16 = nn.Sequential(Conv(c256, c512, 3, 2), C3(c512, c512, nine))
        self.to_stride32 = nn.Sequential(Conv(c512, c1024, 3, 2), C3(c1024, c1024, three), Sppf(c1024, c1024))
        self.channels = (c256, c512, c1024)

    def forward(self, image: Tensor) -> list[Tensor]:
        p3 = self.to_stride8(image)
        p4 = self.to_stride16(p3)
        return [p3, p4, self.to_stride32(p4)]

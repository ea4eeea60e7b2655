"""YOLOv7-tiny's own backbone (arXiv 2207.02696): tiny ELAN stages between max-pools; scales by width, ours."""

from __future__ import annotations

from torch import Tensor, nn

from ghostyolo.models.registry import register_backbone
from ghostyolo.nn.channels import scale_channels
from ghostyolo.nn.elan import LeakyConv, TinyElan

MAX_CHANNELS = 512  # of an unscaled layer

# s is the published tiny; the others keep the steps of YOLOv5's widths and are ours.
SCALES = {letter: {"width": width} for letter, width in zip("pnsmlx", (0.25, 0.5, 1.0, 1.5, 2.0, 2.5), strict=True)}


@register_backbone("yolov7", scales=SCALES)
class YoloV7TinyBackbone(nn.Module):
    """The YOLOv7-tiny backbone.

    ``forward`` gives P3, P4, P5: (B, channels[i], H / strides[i], W / strides[i]). H and W are multiples of 32.

    Args:
        width: multiplies every channel count, see :mod:`ghostyolo.nn.channels`.
        in_channels: of the image.
    """

    strides = (8, 16, 32)

    def __init__(self, *, width: float = 1.0, in_channels: int = 3) -> None:
        super().__init__()
        c32, c64, c128, c256, c512 = (scale_channels(count, width, MAX_CHANNELS) for count in (32, 64, 128, 256, 512))
        self.to_stride8 = nn.Sequential(
            LeakyConv(in_channels, c32, 3, 2),
            LeakyConv(c32, c64, 3, 2),
            TinyElan(c64, c32, c64),
            nn.MaxPool2d(2),
            TinyElan(c64, c64, c128),
        )
        self.to_stride16 = nn.Sequential(nn.MaxPool2d(2), TinyElan(c128, c128, c256))
        self.to_stride32 = nn.Sequential(nn.MaxPool2d(2), TinyElan(c256, c256, c512))
        self.channels = (c128, c256, c512)

    def forward(self, image: Tensor) -> list[Tensor]:
        p3 = self.to_stride8(image)
        p4 = self.to_stride16(p3)
        return [p3, p4, self.to_stride32(p4)]

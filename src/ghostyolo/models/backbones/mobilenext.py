"""MobileNeXt: sandglass bottlenecks, wide outside and narrow inside (ECCV 2020, arXiv 2007.02269).

Table 2 of the paper, with the depthwise convolutions as the authors train them: a block that changes the width or the
size of the map has none at its entry, one that changes only the width in the first block of a stage has none at all.
Their published counts hold for this graph, not for one with both in every block.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from ghostyolo.errors import ConfigError
from ghostyolo.models.backbones.classifier_head import Classifier, stage_states
from ghostyolo.models.registry import register_backbone
from ghostyolo.nn.channels import make_divisible
from ghostyolo.nn.reparam import ConvNorm

# reduction, output channels, repeats, stride; one list for each of the strides 2, 4, 8, 16, 32.
STAGES: list[list[tuple[int, int, int, int]]] = [
    [],
    [(2, 96, 1, 2), (6, 144, 1, 1)],
    [(6, 192, 3, 2)],
    [(6, 288, 3, 2), (6, 384, 4, 1)],
    [(6, 576, 4, 2), (6, 960, 3, 1), (6, 1280, 1, 1)],
]
LAST_CHANNELS = 1280  # not narrowed with the width, as MobileNetV2's last convolution is not
SCALES = {
    "p": {"width": 0.5},
    "n": {"width": 0.75},
    "s": {"width": 1.4},
    "m": {"width": 1.8},
    "l": {"width": 2.2},
    "x": {"width": 2.8},
}


def _relu6() -> nn.Module:
    return nn.ReLU6(inplace=True)


class Sandglass(nn.Module):
    """A bottleneck that is wide outside and narrow inside.

    Depthwise 3x3, linear 1x1 reduce, 1x1 expand, linear depthwise 3x3 with the stride; identity around all.

    Input (B, C_in, H, W), output (B, C_out, H / stride, W / stride).

    Args:
        reduction: of the input's channels at the waist, which is never narrower than a sixth of the output's.
        enter, leave: whether the first and the last depthwise convolution are there.
        identity: add the input.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        reduction: int,
        enter: bool,
        leave: bool,
        identity: bool,
    ) -> None:
        super().__init__()
        waist = in_channels // reduction
        if waist < out_channels / 6:
            waist = make_divisible(math.ceil(out_channels / 6), 16)
        self.enter = ConvNorm(in_channels, in_channels, 3, groups=in_channels, act=_relu6) if enter else nn.Identity()
        self.reduce = ConvNorm(in_channels, waist)
        self.expand = ConvNorm(waist, out_channels, act=_relu6)
        self.leave = ConvNorm(out_channels, out_channels, 3, stride, out_channels) if leave else nn.Identity()
        self.identity = identity

    def forward(self, x: Tensor) -> Tensor:
        y = self.leave(self.expand(self.reduce(self.enter(x))))
        return x + y if self.identity else y


class MobileNeXt(nn.Module):
    """The MobileNeXt backbone: stem and five stages.

    ``forward`` gives P3, P4, P5: (B, channels[i], H / strides[i], W / strides[i]).

    Args:
        width: multiplies every channel count but the last 1280, rounded to a multiple of 8. Published: 0.35, 0.5,
            0.75, 1.0, 1.4.
        in_channels: of the image.
    """

    strides = (8, 16, 32)

    def __init__(self, width: float = 1.0, in_channels: int = 3) -> None:
        super().__init__()
        if not width >= 0.1:
            raise ConfigError(f"backbone 'mobilenext': width {width} leaves too few channels: choose at least 0.1")
        channels = make_divisible(32 * width, 8)
        self.stem = ConvNorm(in_channels, channels, 3, 2, act=_relu6)
        self.stages = nn.ModuleList()
        self.stage_channels: list[int] = []
        for stage in STAGES:
            blocks: list[nn.Module] = []
            for reduction, out, repeats, stride in stage:
                out_channels = make_divisible(out * width, 8)
                if out == LAST_CHANNELS:
                    out_channels = max(out_channels, out)
                alone = reduction == 2 or (repeats == 1 and stride == 1)
                blocks.append(
                    Sandglass(channels, out_channels, stride, reduction, alone, alone or stride == 2, identity=False)
                )
                blocks += [
                    Sandglass(out_channels, out_channels, 1, reduction, True, True, identity=True)
                    for _ in range(repeats - 1)
                ]
                channels = out_channels
            self.stages.append(nn.Sequential(*blocks))
            self.stage_channels.append(channels)
        self.channels = tuple(self.stage_channels[2:])

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(stage_states(self, image))[2:]


class MobileNeXtClassifier(Classifier):
    """The published classifier: mean of the last block, linear."""

    def __init__(self, width: float = 1.0, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2) -> None:
        super().__init__(MobileNeXt(width, in_channels), num_classes=num_classes, dropout=dropout)


@register_backbone("mobilenext", scales=SCALES)
def mobilenext(*, width: float = 1.0, in_channels: int = 3) -> MobileNeXt:
    """MobileNeXt (ECCV 2020) of any width."""
    return MobileNeXt(width, in_channels)

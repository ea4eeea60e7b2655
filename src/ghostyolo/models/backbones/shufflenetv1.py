"""ShuffleNet (V1): grouped 1x1 convolutions with their channels shuffled.

Source: CVPR 2018, arXiv 1707.01083, table 1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.errors import ConfigError
from ghostyolo.models.backbones.classifier_head import Classifier, stage_states
from ghostyolo.models.registry import register_backbone
from ghostyolo.nn.channels import make_divisible
from ghostyolo.nn.reparam import ConvNorm

STEM_CHANNELS = 24
STAGE2_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # by groups; each later stage has twice as many
REPEATS = (4, 8, 4)  # units at strides 8, 16, 32
SCALES = {
    "p": {"width": 1.0},
    "n": {"width": 1.5},
    "s": {"width": 2.0},
    "m": {"width": 3.0},
    "l": {"width": 4.0},
    "x": {"width": 5.0},
}


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def shuffle_channels(x: Tensor, groups: int) -> Tensor:
    """Deal the channels of ``groups`` equal groups out in turn, same shape."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class ShuffleUnit(nn.Module):
    """A grouped bottleneck with a shuffle inside.

    Grouped 1x1 to a quarter, shuffle, depthwise 3x3, grouped 1x1; added to the input, or at stride 2 beside it.

    Input (B, C_in, H, W), output (B, C_out, H / stride, W / stride). At stride 2 the first C_in channels are the
    input's 3x3 means, so C_out is larger than C_in.

    Args:
        groups: of the 1x1 convolutions and of the shuffle.
        grouped_entry: False for the first unit, whose input has too few channels to group (section 3.3).
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, groups: int, grouped_entry: bool = True
    ) -> None:
        super().__init__()
        middle = out_channels // 4
        own = out_channels - in_channels if stride == 2 else out_channels
        self.groups, self.stride = groups, stride
        self.reduce = ConvNorm(in_channels, middle, groups=groups if grouped_entry else 1, act=_relu)
        self.depthwise = ConvNorm(middle, middle, 3, stride, middle)
        self.expand = ConvNorm(middle, own, groups=groups)
        self.act = _relu()

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.depthwise(shuffle_channels(self.reduce(x), self.groups)))
        if self.stride == 1:
            return self.act(x + y)
        return self.act(torch.cat((F.avg_pool2d(x, 3, 2, 1), y), 1))


class ShuffleNetV1(nn.Module):
    """The ShuffleNet backbone: stem and five stages.

    ``forward`` gives P3, P4, P5: (B, channels[i], H / strides[i], W / strides[i]).

    Args:
        width: multiplies every channel count, rounded so that the groups divide it. Published: 0.25, 0.5, 1.0, 1.5,
            2.0.
        groups: 1, 2, 3, 4 or 8; a wider network for the same cost. 3 is the most used.
        in_channels: of the image.
    """

    strides = (8, 16, 32)

    def __init__(self, width: float = 1.0, groups: int = 3, in_channels: int = 3) -> None:
        super().__init__()
        if groups not in STAGE2_CHANNELS:
            raise ConfigError(
                f"backbone 'shufflenetv1' has no groups {groups}: valid: {', '.join(map(str, STAGE2_CHANNELS))}"
            )
        if not width >= 0.25:
            raise ConfigError(f"backbone 'shufflenetv1': width {width} leaves too few channels: choose at least 0.25")
        channels = make_divisible(STEM_CHANNELS * width, math.lcm(groups, 4))
        self.stem = ConvNorm(in_channels, channels, 3, 2, act=_relu)
        self.stages = nn.ModuleList([nn.Identity(), nn.MaxPool2d(3, 2, 1)])
        self.stage_channels = [channels, channels]
        out_channels = make_divisible(STAGE2_CHANNELS[groups] * width, 4 * groups)
        for index, repeats in enumerate(REPEATS):
            units = [ShuffleUnit(channels, out_channels, 2, groups, grouped_entry=index > 0)]
            units += [ShuffleUnit(out_channels, out_channels, 1, groups) for _ in range(repeats - 1)]
            self.stages.append(nn.Sequential(*units))
            self.stage_channels.append(out_channels)
            channels, out_channels = out_channels, 2 * out_channels
        self.channels = tuple(self.stage_channels[2:])

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(stage_states(self, image))[2:]


class ShuffleNetV1Classifier(Classifier):
    """The published classifier: mean of the last unit, linear."""

    def __init__(
        self, width: float = 1.0, groups: int = 3, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__(ShuffleNetV1(width, groups, in_channels), num_classes=num_classes, dropout=dropout)


@register_backbone("shufflenetv1", scales=SCALES)
def shufflenetv1(*, width: float = 1.0, groups: int = 3, in_channels: int = 3) -> ShuffleNetV1:
    """ShuffleNet (CVPR 2018) of any width."""
    return ShuffleNetV1(width, groups, in_channels)

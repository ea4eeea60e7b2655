"""SqueezeNet as a backbone (arXiv 1602.07360): torchvision's Fire modules, and a stage at stride 32 that is ours.

SqueezeNet ends at stride 16 and its first convolution does not pad, so that no map is exactly (H / s, W / s). Here the
first convolution pads by half its kernel (its weights fit as they are), which makes every map exact, and two more Fire
modules of the last size after another pooling make stride 32. They have no pretrained weights.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ghostyolo.models.backbones.foreign import adapt, refuse
from ghostyolo.models.backbones.libraries import torchvision_network
from ghostyolo.models.backbones.named import check_variant
from ghostyolo.models.registry import register_backbone

VARIANTS = {"v1.0": "squeezenet1_0", "v1.1": "squeezenet1_1"}
LAST_CHANNELS, LAST_SQUEEZE = 512, 64  # of the two last Fire modules, and of ours


@register_backbone("squeezenet")
def squeezenet(*, variant: str = "v1.1", pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """SqueezeNet 1.0 or 1.1; it has no batch norms.

    Raises:
        ConfigError: an unknown variant.
        WeightsError: pretrained weights that cannot be fetched.
    """
    from torchvision.models.squeezenet import Fire

    check_variant("squeezenet", variant, VARIANTS)
    net: Any = torchvision_network(VARIANTS[variant], pretrained, in_channels)
    first = net.features[0]
    first.padding = (first.kernel_size[0] // 2, first.kernel_size[1] // 2)
    half = LAST_CHANNELS // 2
    net.features.append(nn.MaxPool2d(3, 2, ceil_mode=True))
    net.features.extend(Fire(LAST_CHANNELS, LAST_SQUEEZE, half, half) for _ in range(2))
    backbone = adapt(net, f"'squeezenet' {variant}", in_channels)
    if backbone is None:
        raise refuse(f"'squeezenet' {variant}")
    return backbone

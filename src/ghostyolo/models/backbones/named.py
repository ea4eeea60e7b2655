"""Well-known backbones of timm and torchvision under plain names, in the sizes that those libraries have.

``variant`` is the size: ``x0.5`` is half the channels. It is a name and not a number because there is nothing between
two sizes of a library. The scales give about 1 to 2.5 million backbone parameters to a detector of size n and 3 to 5 to
s, as far as there are sizes. All take ``pretrained`` and any number of image channels.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.models.backbones.libraries import timm_backbone, torchvision_backbone
from ghostyolo.models.registry import register_backbone
from ghostyolo.models.scales import LETTERS

MOBILENETV1 = {"x1.0": "mobilenetv1_100", "x1.25": "mobilenetv1_125"}
MOBILENETV2 = {
    "x0.35": "mobilenetv2_035",
    "x0.5": "mobilenetv2_050",
    "x0.75": "mobilenetv2_075",
    "x1.0": "mobilenetv2_100",
    "x1.1d": "mobilenetv2_110d",
    "x1.2d": "mobilenetv2_120d",
    "x1.4": "mobilenetv2_140",
}
MOBILENETV3 = {
    "small_x0.5": "mobilenetv3_small_050",
    "small_x0.75": "mobilenetv3_small_075",
    "small_x1.0": "mobilenetv3_small_100",
    "large_x0.75": "mobilenetv3_large_075",
    "large_x1.0": "mobilenetv3_large_100",
    "large_x1.5d": "mobilenetv3_large_150d",
}
MOBILENETV4 = {
    "conv_small_x0.35": "mobilenetv4_conv_small_035",
    "conv_small_x0.5": "mobilenetv4_conv_small_050",
    "conv_small": "mobilenetv4_conv_small",
    "conv_medium": "mobilenetv4_conv_medium",
    "conv_large": "mobilenetv4_conv_large",
    "hybrid_medium": "mobilenetv4_hybrid_medium",
    "hybrid_large": "mobilenetv4_hybrid_large",
}
MNASNET = {"x0.5": "mnasnet_050", "x0.75": "mnasnet_075", "x1.0": "mnasnet_100", "x1.4": "mnasnet_140"}
SHUFFLENETV2 = {
    "x0.5": "shufflenet_v2_x0_5",
    "x1.0": "shufflenet_v2_x1_0",
    "x1.5": "shufflenet_v2_x1_5",
    "x2.0": "shufflenet_v2_x2_0",
}
MOBILEVIT = {"xxs": "mobilevit_xxs", "xs": "mobilevit_xs", "s": "mobilevit_s"}
REPGHOSTNET = {
    "x0.5": "repghostnet_050",
    "x0.58": "repghostnet_058",
    "x0.8": "repghostnet_080",
    "x1.0": "repghostnet_100",
    "x1.11": "repghostnet_111",
    "x1.3": "repghostnet_130",
    "x1.5": "repghostnet_150",
    "x2.0": "repghostnet_200",
}


def scales_of(*variants: str) -> dict[str, dict[str, str]]:
    """Variants for p, n, s, m, l, x; the last one given serves the sizes that are left."""
    return {letter: {"variant": variants[min(i, len(variants) - 1)]} for i, letter in enumerate(LETTERS)}


@register_backbone("mobilenetv1", scales=scales_of("x1.0", "x1.0", "x1.0", "x1.25"))
def mobilenetv1(*, variant: str = "x1.0", pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """MobileNet (arXiv 1704.04861), timm's."""
    check_variant("mobilenetv1", variant, MOBILENETV1)
    return timm_backbone(name=MOBILENETV1[variant], pretrained=pretrained, in_channels=in_channels)


@register_backbone("mobilenetv2", scales=scales_of("x0.5", "x1.0", "x1.4", "x1.2d"))
def mobilenetv2(*, variant: str = "x1.0", pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """MobileNetV2 (arXiv 1801.04381), timm's; ``d`` is deeper too."""
    check_variant("mobilenetv2", variant, MOBILENETV2)
    return timm_backbone(name=MOBILENETV2[variant], pretrained=pretrained, in_channels=in_channels)


@register_backbone("mobilenetv3", scales=scales_of("small_x0.75", "large_x0.75", "large_x1.0", "large_x1.5d"))
def mobilenetv3(*, variant: str = "large_x1.0", pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """MobileNetV3 small and large (arXiv 1905.02244), timm's; ``d`` is deeper too."""
    check_variant("mobilenetv3", variant, MOBILENETV3)
    return timm_backbone(name=MOBILENETV3[variant], pretrained=pretrained, in_channels=in_channels)


@register_backbone(
    "mobilenetv4", scales=scales_of("conv_small_x0.5", "conv_small", "conv_medium", "conv_medium", "conv_large")
)
def mobilenetv4(*, variant: str = "conv_small", pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """MobileNetV4, of convolutions or with attention at strides 16 and 32 (arXiv 2404.10518), timm's."""
    check_variant("mobilenetv4", variant, MOBILENETV4)
    return timm_backbone(name=MOBILENETV4[variant], pretrained=pretrained, in_channels=in_channels)


@register_backbone("mnasnet", scales=scales_of("x0.5", "x0.75", "x1.0", "x1.4"))
def mnasnet(*, variant: str = "x1.0", pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """MnasNet-B1 (arXiv 1807.11626), timm's."""
    check_variant("mnasnet", variant, MNASNET)
    return timm_backbone(name=MNASNET[variant], pretrained=pretrained, in_channels=in_channels)


@register_backbone("shufflenetv2", scales=scales_of("x1.0", "x1.5", "x2.0"))
def shufflenetv2(*, variant: str = "x1.0", pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """ShuffleNetV2 (arXiv 1807.11164), torchvision's."""
    check_variant("shufflenetv2", variant, SHUFFLENETV2)
    return torchvision_backbone(name=SHUFFLENETV2[variant], pretrained=pretrained, in_channels=in_channels)


@register_backbone("mobilevit", scales=scales_of("xxs", "xs", "s"))
def mobilevit(*, variant: str = "s", pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """MobileViT (arXiv 2110.02178), timm's."""
    check_variant("mobilevit", variant, MOBILEVIT)
    return timm_backbone(name=MOBILEVIT[variant], pretrained=pretrained, in_channels=in_channels)


@register_backbone("repghostnet", scales=scales_of("x0.8", "x1.0", "x1.5", "x2.0"))
def repghostnet(*, variant: str = "x1.0", pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """RepGhostNet (arXiv 2211.06088), timm's."""
    check_variant("repghostnet", variant, REPGHOSTNET)
    return timm_backbone(name=REPGHOSTNET[variant], pretrained=pretrained, in_channels=in_channels)


@register_backbone("resnet50")
def resnet50(*, pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """ResNet-50 (arXiv 1512.03385), timm's."""
    return timm_backbone(name="resnet50", pretrained=pretrained, in_channels=in_channels)


def check_variant(backbone: str, variant: str, valid: Iterable[str]) -> None:
    """Refuse a size that a backbone's library does not have."""
    if variant not in valid:
        raise ConfigError(f"backbone '{backbone}' has no variant '{variant}': {suggest(str(variant), valid)}")

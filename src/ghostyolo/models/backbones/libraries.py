"""Backbones of timm and torchvision.

Any by the library's own name, the well-known ones by a plain name.

``{type: timm, name: ...}`` and ``{type: torchvision, name: ...}`` take any. Where the network is a chain, its deepest
maps are taken (:mod:`ghostyolo.models.backbones.library_adapter`); where it is not (HRNet), timm's extractor decides.
Pretrained weights come by the library's own mechanism.

The well-known ones have a ``variant``, the size: ``x0.5`` is half the channels. It is a name and not a number because
there is nothing between two sizes of a library. The scales give about 1 to 2.5 million backbone parameters to a
detector of size n and 3 to 5 to s, as far as there are sizes.

SqueezeNet (arXiv 1602.07360) ends at stride 16 and its first convolution does not pad, so that no map is exactly
(H / s, W / s). Here the first convolution pads by half its kernel (its weights fit as they are), which makes every map
exact, and two more Fire modules of the last size after another pooling make stride 32. They have no pretrained weights.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn

from ghostyolo.errors import ConfigError, WeightsError, suggest
from ghostyolo.models.backbones.library_adapter import STRIDES, FeatureList, adapt, refuse, wrap
from ghostyolo.models.registry import register_backbone
from ghostyolo.models.scales import LETTERS


@register_backbone("timm")
def timm_backbone(*, name: str, pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """Any feature extractor of timm.

    Args:
        name: as ``timm.create_model`` takes it, with or without a tag of its weights.

    Raises:
        ConfigError: an unknown name, or a network without exact maps at strides 8, 16 and 32.
        WeightsError: pretrained weights that do not exist or cannot be fetched.
    """
    name = str(name)  # YAML reads an unquoted number as one
    what = f"'timm: {name}'"
    net = timm_network(name, pretrained, in_channels, num_classes=0)
    backbone: Any = adapt(net, what, in_channels)
    if backbone is None:
        backbone = _by_timm(net, name, what, pretrained, in_channels)
    backbone.library = ("timm", name)
    return backbone


@register_backbone("torchvision")
def torchvision_backbone(*, name: str, pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """Any classification network of torchvision. Another number of image channels replaces the first convolution.

    Raises:
        ConfigError, WeightsError: see :func:`timm_backbone`.
    """
    name = str(name)
    what = f"'torchvision: {name}'"
    net = torchvision_network(name, pretrained, in_channels)
    backbone = adapt(net, what, in_channels)
    if backbone is None:
        raise refuse(what)
    backbone.library = ("torchvision", name)
    return backbone


def timm_network(
    name: str, pretrained: bool, in_channels: int, num_classes: int | None = None, **options: Any
) -> nn.Module:
    """timm's whole network.

    Args:
        num_classes: 0 for none, None for those of its pretrained weights.
        options: more of ``timm.create_model``.

    Raises:
        ConfigError, WeightsError: see :func:`timm_backbone`.
    """
    import timm

    if not timm.is_model(name):
        raise ConfigError(f"timm has no model '{name}': {_near(name, timm.list_models(), 'timm.list_models()')}")
    if num_classes is not None:
        options = {**options, "num_classes": num_classes}
    return _create(
        lambda: timm.create_model(name, pretrained=pretrained, in_chans=in_channels, **options),
        f"'timm: {name}'",
        pretrained,
    )


def torchvision_network(name: str, pretrained: bool, in_channels: int, **options: Any) -> nn.Module:
    """The whole classifier, for pictures of ``in_channels``.

    Args:
        options: more of ``torchvision.models.get_model``, such as ``num_classes``.

    Raises:
        ConfigError, WeightsError: see :func:`timm_backbone`.
    """
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise ConfigError(
            f"torchvision has no classifier '{name}': {_near(name, names, 'torchvision.models.list_models()')}"
        )
    weights = "DEFAULT" if pretrained else None
    net = _create(
        lambda: torchvision.models.get_model(name, weights=weights, **options), f"'torchvision: {name}'", pretrained
    )
    if in_channels != 3:
        _replace_first_convolution(net, in_channels, pretrained)
    return net


def _create(create: Callable[[], nn.Module], what: str, pretrained: bool) -> nn.Module:
    try:
        return _anywhere(create)
    except Exception as error:  # hub clients, sockets and the libraries' own RuntimeError, all meaning "no weights"
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if not pretrained:
            raise ConfigError(f"backbone {what} cannot be built ({reason}): choose another") from error
        raise WeightsError(
            f"no pretrained weights for backbone {what} ({reason}); check the connection, or leave 'pretrained' out, "
            "download the library's weights file elsewhere and give it as backbone_weights"
        ) from error


def _anywhere(create: Callable[[], nn.Module]) -> nn.Module:
    """Create on the default device, or beside it where that is "meta" and a constructor reads values of tensors."""
    wanted = torch.get_default_device()
    try:
        return create()
    except (NotImplementedError, RuntimeError):
        if wanted.type != "meta":
            raise
        with torch.device("cpu"):
            return create().to(wanted)


def _by_timm(net: nn.Module, name: str, what: str, pretrained: bool, in_channels: int) -> FeatureList:
    import timm

    strides = [info["reduction"] for info in getattr(net, "feature_info", [])]
    if not set(STRIDES) <= set(strides):
        raise refuse(what)
    # The last entry of each stride, should a network list several.
    indices = tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES)
    features: Any = _create(
        lambda: timm.create_model(
            name, pretrained=pretrained, in_chans=in_channels, features_only=True, out_indices=indices
        ),
        what,
        pretrained,
    )
    return wrap(features, features.feature_info.channels(), what, in_channels)


def _replace_first_convolution(net: nn.Module, in_channels: int, keep_weights: bool) -> None:
    from timm.models import adapt_input_conv

    path, old = next((path, part) for path, part in net.named_modules() if isinstance(part, nn.Conv2d))
    new: Any = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    if keep_weights:
        with torch.no_grad():
            new.weight.copy_(adapt_input_conv(in_channels, old.weight))
            if old.bias is not None:
                new.bias.copy_(old.bias)
    parent, _, child = path.rpartition(".")
    net.get_submodule(parent).register_module(child, new)


def _near(name: str, valid: Iterable[str], listing: str) -> str:
    near = difflib.get_close_matches(name, list(valid), n=3, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else f"{listing} has the valid ones"


class Sizes(NamedTuple):
    """The sizes that a library has of one network.

    Attributes:
        build: :func:`timm_backbone` or :func:`torchvision_backbone`.
        names: of each variant in the library.
        usual: the variant without a choice.
        scales: variants for p, n, s, m, l, x; the last one given serves the letters that are left.
    """

    build: Callable[..., nn.Module]
    names: dict[str, str]
    usual: str
    scales: tuple[str, ...]


SIZES = {
    "mobilenetv1": Sizes(  # arXiv 1704.04861
        timm_backbone,
        {"x1.0": "mobilenetv1_100", "x1.25": "mobilenetv1_125"},
        "x1.0",
        ("x1.0", "x1.0", "x1.0", "x1.25"),
    ),
    "mobilenetv2": Sizes(  # 1801.04381; "d" is deeper too
        timm_backbone,
        {
            "x0.35": "mobilenetv2_035",
            "x0.5": "mobilenetv2_050",
            "x0.75": "mobilenetv2_075",
            "x1.0": "mobilenetv2_100",
            "x1.1d": "mobilenetv2_110d",
            "x1.2d": "mobilenetv2_120d",
            "x1.4": "mobilenetv2_140",
        },
        "x1.0",
        ("x0.5", "x1.0", "x1.4", "x1.2d"),
    ),
    "mobilenetv3": Sizes(  # 1905.02244; "d" is deeper too
        timm_backbone,
        {
            "small_x0.5": "mobilenetv3_small_050",
            "small_x0.75": "mobilenetv3_small_075",
            "small_x1.0": "mobilenetv3_small_100",
            "large_x0.75": "mobilenetv3_large_075",
            "large_x1.0": "mobilenetv3_large_100",
            "large_x1.5d": "mobilenetv3_large_150d",
        },
        "large_x1.0",
        ("small_x0.75", "large_x0.75", "large_x1.0", "large_x1.5d"),
    ),
    "mobilenetv4": Sizes(  # 2404.10518; of convolutions, or with attention at strides 16 and 32
        timm_backbone,
        {
            "conv_small_x0.35": "mobilenetv4_conv_small_035",
            "conv_small_x0.5": "mobilenetv4_conv_small_050",
            "conv_small": "mobilenetv4_conv_small",
            "conv_medium": "mobilenetv4_conv_medium",
            "conv_large": "mobilenetv4_conv_large",
            "hybrid_medium": "mobilenetv4_hybrid_medium",
            "hybrid_large": "mobilenetv4_hybrid_large",
        },
        "conv_small",
        ("conv_small_x0.5", "conv_small", "conv_medium", "conv_medium", "conv_large"),
    ),
    "mnasnet": Sizes(  # MnasNet-B1, 1807.11626
        timm_backbone,
        {"x0.5": "mnasnet_050", "x0.75": "mnasnet_075", "x1.0": "mnasnet_100", "x1.4": "mnasnet_140"},
        "x1.0",
        ("x0.5", "x0.75", "x1.0", "x1.4"),
    ),
    "shufflenetv2": Sizes(  # 1807.11164
        torchvision_backbone,
        {
            "x0.5": "shufflenet_v2_x0_5",
            "x1.0": "shufflenet_v2_x1_0",
            "x1.5": "shufflenet_v2_x1_5",
            "x2.0": "shufflenet_v2_x2_0",
        },
        "x1.0",
        ("x1.0", "x1.5", "x2.0"),
    ),
    "mobilevit": Sizes(  # 2110.02178
        timm_backbone,
        {"xxs": "mobilevit_xxs", "xs": "mobilevit_xs", "s": "mobilevit_s"},
        "s",
        ("xxs", "xs", "s"),
    ),
    "repghostnet": Sizes(  # 2211.06088
        timm_backbone,
        {
            "x0.5": "repghostnet_050",
            "x0.58": "repghostnet_058",
            "x0.8": "repghostnet_080",
            "x1.0": "repghostnet_100",
            "x1.11": "repghostnet_111",
            "x1.3": "repghostnet_130",
            "x1.5": "repghostnet_150",
            "x2.0": "repghostnet_200",
        },
        "x1.0",
        ("x0.8", "x1.0", "x1.5", "x2.0"),
    ),
}


def _builder(backbone: str, sizes: Sizes) -> Callable[..., nn.Module]:
    def build(*, variant: str = sizes.usual, pretrained: bool = False, in_channels: int = 3) -> nn.Module:
        check_variant(backbone, variant, sizes.names)
        return sizes.build(name=sizes.names[variant], pretrained=pretrained, in_channels=in_channels)

    return build


@register_backbone("resnet50")
def resnet50(*, pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """ResNet-50 (arXiv 1512.03385), timm's."""
    return timm_backbone(name="resnet50", pretrained=pretrained, in_channels=in_channels)


def check_variant(backbone: str, variant: str, valid: Iterable[str]) -> None:
    """Refuse a size that a backbone's library does not have."""
    if variant not in valid:
        raise ConfigError(f"backbone '{backbone}' has no variant '{variant}': {suggest(str(variant), valid)}")


SQUEEZENETS = {"v1.0": "squeezenet1_0", "v1.1": "squeezenet1_1"}
LAST_CHANNELS, LAST_SQUEEZE = 512, 64  # of the two last Fire modules, and of ours


@register_backbone("squeezenet")
def squeezenet(*, variant: str = "v1.1", pretrained: bool = False, in_channels: int = 3) -> nn.Module:
    """SqueezeNet 1.0 or 1.1; it has no batch norms.

    Raises:
        ConfigError: an unknown variant.
        WeightsError: pretrained weights that cannot be fetched.
    """
    from torchvision.models.squeezenet import Fire

    check_variant("squeezenet", variant, SQUEEZENETS)
    net: Any = torchvision_network(SQUEEZENETS[variant], pretrained, in_channels)
    first = net.features[0]
    first.padding = (first.kernel_size[0] // 2, first.kernel_size[1] // 2)
    half = LAST_CHANNELS // 2
    net.features.append(nn.MaxPool2d(3, 2, ceil_mode=True))
    net.features.extend(Fire(LAST_CHANNELS, LAST_SQUEEZE, half, half) for _ in range(2))
    backbone = adapt(net, f"'squeezenet' {variant}", in_channels)
    if backbone is None:
        raise refuse(f"'squeezenet' {variant}")
    return backbone


for _name, _sizes in SIZES.items():
    _variants = [_sizes.scales[min(place, len(_sizes.scales) - 1)] for place in range(len(LETTERS))]
    _scales = {letter: {"variant": variant} for letter, variant in zip(LETTERS, _variants, strict=True)}
    register_backbone(_name, scales=_scales)(_builder(_name, _sizes))

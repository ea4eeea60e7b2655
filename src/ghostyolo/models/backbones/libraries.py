"""Backbones by a library's own name: ``{type: timm, name: ...}`` and ``{type: torchvision, name: ...}``.

Where the network is a chain, its deepest maps are taken (:mod:`ghostyolo.models.backbones.foreign`); where it is not
(HRNet), timm's extractor decides. Pretrained weights come by the library's own mechanism.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.models.backbones.foreign import STRIDES, FeatureList, adapt, refuse, wrap
from ghostyolo.models.registry import register_backbone


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

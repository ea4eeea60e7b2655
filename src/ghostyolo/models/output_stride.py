"""Lets a network work on small pictures.

Its first halvings are taken out, so that a picture of 32 x 32 is not one cell.

Layers keep their weights' shapes, so that weights fit the network with all its strides as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ghostyolo.errors import ConfigError
from ghostyolo.nn.reparam import RepConv

USUAL = 32
_SIDE = 64
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_WATCHED = (nn.Conv2d, RepConv, *_POOLS)


def keep_early_size(net: nn.Module, output_stride: int, in_channels: int, name: str) -> None:
    """Set the stride of the first halvings to 1, in place.

    The first one for an ``output_stride`` of 16, two for 8.

    Every convolution and pooling of stride 2 that takes a map of the picture's own size is changed, so that parallel
    paths stay alike; then, for 8, those that take such a map now.

    Args:
        output_stride: 32 leaves the network as it is.
        name: of the network, for messages.

    Raises:
        ConfigError: there is no such layer, or its kernel would not keep the size.
    """
    size = USUAL
    while size > output_stride:
        layers = _layers_at_full_size(net, in_channels, name)
        if not layers:
            raise ConfigError(
                f"model '{name}' has no halving of stride 2 to take out for an output stride of {output_stride}: "
                "choose another network, or output_stride 32"
            )
        for layer in layers:
            layer.stride = (1, 1) if isinstance(layer.stride, tuple) else 1
        size //= 2
    if output_stride < USUAL:
        _layers_at_full_size(net, in_channels, name)  # the network must still run


def _layers_at_full_size(net: nn.Module, in_channels: int, name: str) -> list[Any]:
    """Convolutions and poolings of stride 2 whose input is as large as the picture."""
    layers: list[Any] = []

    def before(module: Any, args: tuple[Any, ...]) -> None:
        if args[0].shape[2:] == (_SIDE, _SIDE):
            # Some convolutions of a container are computed without being called.
            inner = module.modules() if isinstance(module, RepConv) else [module]
            layers.extend(part for part in inner if _halves(part) and not any(part is other for other in layers))

    watched = [module for module in net.modules() if isinstance(module, _WATCHED)]
    handles = [module.register_forward_pre_hook(before) for module in watched]
    modes = {module: module.training for module in net.modules()}
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, in_channels, _SIDE, _SIDE))
    except Exception as error:  # whatever a network raises for a size that it cannot take
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"model '{name}' cannot take small pictures ({reason}): leave output_stride at 32") from error
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return layers


def _halves(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, *_POOLS)) and module.stride in (2, (2, 2), [2, 2])

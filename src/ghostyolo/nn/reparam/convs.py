"""Which modules are convolutions, and how another kernel is put into one."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from ghostyolo.nn.reparam.norms import on_trial

Pair = tuple[int, int]
Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
AnyConv = TypeVar("AnyConv", bound=nn.Conv1d | nn.Conv2d | nn.Conv3d)

_STOCK = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def pair(value: int | Pair) -> Pair:
    """The number for both sides, or the two given."""
    return (value, value) if isinstance(value, int) else value


def plain_conv(like: AnyConv, kernel: Tensor, bias: Tensor) -> AnyConv:
    """Return a convolution with the given kernel and bias.

    It has the class and geometry of ``like``.
    """
    conv = copy.deepcopy(like)
    conv.weight = nn.Parameter(kernel.detach().clone(), requires_grad=like.weight.requires_grad)
    conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=like.weight.requires_grad)
    return conv


def is_centred(conv: nn.Conv2d) -> bool:
    """Whether at any size output i lies on input i * stride."""
    if not _has_stock_forward(conv) or any(side % 2 == 0 for side in conv.kernel_size):
        return False  # a foreign class pads as it likes
    middle = tuple(gap * (side // 2) for gap, side in zip(conv.dilation, conv.kernel_size, strict=True))
    return {"same": middle, "valid": (0, 0)}.get(conv.padding, conv.padding) == middle  # type: ignore[arg-type]


def is_plain_conv(module: nn.Module) -> bool:
    """Whether the module convolves with a weight and adds a bias of its own.

    A weight that is computed at each call (weight norm, spectral norm, pruning, standardised kernels) is none.
    """
    if not isinstance(module, Conv) or not isinstance(module._parameters.get("weight"), nn.Parameter):
        return False
    return _has_stock_forward(module) or _is_linear(module)


def _has_stock_forward(conv: Conv) -> bool:
    kind = next(kind for kind in _STOCK if isinstance(conv, kind))
    stock = (type(conv).forward, type(conv)._conv_forward) == (kind.forward, kind._conv_forward)
    return stock and "forward" not in vars(conv)


@torch.no_grad()
def _is_linear(conv: Conv) -> bool:
    """A class with a ``forward`` of its own (timm's ``Conv2dSame``) is taken at its numbers.

    Convolving with s W + V and bias b must be s times convolving with W, plus convolving with V, plus b, where s and b
    are any numbers for each output channel: then batch norms and sums of branches go into the kernel.
    """
    try:
        first, second = on_trial(conv), on_trial(conv)
        if not isinstance(first, Conv) or not isinstance(second, Conv):
            return False
        first.bias = second.bias = None
        second.weight.copy_(second.weight.flip(0).cos())
        scale = torch.linspace(-1.5, 2, conv.out_channels, dtype=torch.float64)
        bias = torch.linspace(3, -1, conv.out_channels, dtype=torch.float64)
        of_kernel, of_map = (-1, *[1] * (first.weight.dim() - 1)), (-1, *[1] * (first.weight.dim() - 2))
        both = plain_conv(first, scale.reshape(of_kernel) * first.weight + second.weight, bias)
        sides = [
            dilation * (side - 1) + 1 + 2 * stride
            for side, dilation, stride in zip(conv.kernel_size, conv.dilation, conv.stride, strict=True)
        ]
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, conv.in_channels, *sides, dtype=torch.float64, generator=generator)
        expected = scale.reshape(of_map) * first(x) + second(x) + bias.reshape(of_map)
        return torch.allclose(both(x), expected, rtol=1e-9, atol=1e-9)
    except Exception:  # whatever a foreign forward raises on a plain map, it is then no plain convolution
        return False

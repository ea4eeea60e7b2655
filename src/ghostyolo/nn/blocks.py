"""Blocks of YOLOv13 (arXiv 2506.17733): depthwise-separable CSP blocks and area attention (YOLOv12, 2502.12524).

All maps are (B, C, H, W). ``Conv`` is convolution + BN (eps 1e-3, momentum 0.03) + SiLU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ghostyolo.nn.reparam import Activation, ConvNorm, Pair, fold_batch_norm, plain_conv

NORM_EPS, NORM_MOMENTUM = 1e-3, 0.03


def _silu() -> nn.Module:
    return nn.SiLU(inplace=True)


class Conv(ConvNorm):
    """Convolution, BN with YOLO's constants, SiLU.

    Args:
        act: True for SiLU, False for none, or what makes another activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair = 1,
        stride: int = 1,
        groups: int = 1,
        act: bool | Activation = True,
    ) -> None:
        if isinstance(act, bool):
            activation = _silu if act else None
        else:
            activation = act
        super().__init__(in_channels, out_channels, kernel, stride, groups, activation, NORM_EPS, NORM_MOMENTUM)


def fit_channels(
    in_channels: Sequence[int], channels: Sequence[int], conv: Callable[[int, int], nn.Module] = Conv
) -> nn.ModuleList:
    """Return a 1x1 convolution for each level whose channels differ, else nothing to do."""
    pairs = zip(in_channels, channels, strict=True)
    return nn.ModuleList(nn.Identity() if given == wanted else conv(given, wanted) for given, wanted in pairs)


class DSConv(nn.Module):
    """Depthwise k x k, pointwise 1x1, then ONE batch norm and SiLU for both."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, kernel, stride, kernel // 2, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        self.act = _silu()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.pointwise(self.depthwise(x))))

    def fuse(self) -> nn.Module:
        kernel, bias = fold_batch_norm(self.pointwise.weight, self.norm)
        return nn.Sequential(self.depthwise, plain_conv(self.pointwise, kernel, bias), self.act)


class DSBottleneck(nn.Module):
    """DSConv 3x3, DSConv 7x7, shortcut when the channels match."""

    def __init__(self, in_channels: int, out_channels: int, shortcut: bool = True) -> None:
        super().__init__()
        self.first = DSConv(in_channels, out_channels, 3)
        self.second = DSConv(out_channels, out_channels, 7)
        self.add = shortcut and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return x + y if self.add else y


class DSC3k(nn.Module):
    """A C3 block of depthwise separable bottlenecks.

    Two 1x1 entries to ``e x c``, bottlenecks on one, concat, 1x1 exit.
    """

    def __init__(self, in_channels: int, out_channels: int, repeats: int = 2, expansion: float = 0.5) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.enter_deep = Conv(in_channels, hidden)
        self.enter_skip = Conv(in_channels, hidden)
        self.deep = nn.Sequential(*(DSBottleneck(hidden, hidden) for _ in range(repeats)))
        self.exit = Conv(2 * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.exit(torch.cat((self.deep(self.enter_deep(x)), self.enter_skip(x)), 1))


class DSC3k2(nn.Module):
    """A C2f block of depthwise separable layers.

    1x1 to 2 c, split, inner blocks each fed by the last, concat of all, 1x1 exit.

    Args:
        nested: inner blocks are DSC3k of two bottlenecks instead of single bottlenecks.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        repeats: int = 1,
        nested: bool = False,
        expansion: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.enter = Conv(in_channels, 2 * hidden)
        self.inner = nn.ModuleList(
            DSC3k(hidden, hidden, 2, 1.0) if nested else DSBottleneck(hidden, hidden) for _ in range(repeats)
        )
        self.exit = Conv((2 + repeats) * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        maps = list(self.enter(x).chunk(2, 1))
        for block in self.inner:
            maps.append(block(maps[-1]))
        return self.exit(torch.cat(maps, 1))


class AreaAttention(nn.Module):
    """Self-attention inside equal parts of the map.

    There are ``area`` parts; the values have a 5x5 depthwise positional term.

    Tokens are in row-major order, parts are contiguous runs of them; heads are contiguous groups of 32 channels.
    H x W must be a multiple of ``area``.
    """

    def __init__(self, channels: int, heads: int, area: int = 1) -> None:
        super().__init__()
        self.heads, self.area = heads, area
        self.query_key = Conv(channels, 2 * channels, act=False)
        self.value = Conv(channels, channels, act=False)
        self.position = Conv(channels, channels, 5, groups=channels, act=False)
        self.project = Conv(channels, channels, act=False)

    def _tokens(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B x area, heads, tokens, head channels)."""
        batch, channels = maps.shape[:2]
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = tokens.reshape(batch * self.area, -1, self.heads, channels // self.heads)
        return tokens.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        query, key = self.query_key(x).chunk(2, 1)
        value = self.value(x)
        mixed = nn.functional.scaled_dot_product_attention(self._tokens(query), self._tokens(key), self._tokens(value))
        mixed = mixed.transpose(1, 2).reshape(batch, height * width, channels)
        mixed = mixed.transpose(1, 2).reshape(batch, channels, height, width)
        return self.project(mixed + self.position(value))


class AreaBlock(nn.Module):
    """Area attention and a two-layer 1x1 network, each with a residual."""

    def __init__(self, channels: int, heads: int, mlp_ratio: float, area: int) -> None:
        super().__init__()
        self.attention = AreaAttention(channels, heads, area)
        hidden = int(channels * mlp_ratio)
        self.mlp = nn.Sequential(Conv(channels, hidden), Conv(hidden, channels, act=False))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.mlp(x)


class A2C2f(nn.Module):
    """A C2f block of area attention.

    1x1 to c / 2, ``repeats`` pairs of area blocks each fed by the last, concat of all, 1x1 exit.

    Args:
        residual: add the input, the result weighted by a learned per-channel scale that starts at 0.01 (l and x).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        repeats: int = 1,
        area: int = 1,
        mlp_ratio: float = 2.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        hidden = out_channels // 2
        # 32 channels a head where that divides, as in all published scales; more where it does not.
        heads = next(count for count in range(max(hidden // 32, 1), 0, -1) if hidden % count == 0)
        self.enter = Conv(in_channels, hidden)
        self.inner = nn.ModuleList(
            nn.Sequential(*(AreaBlock(hidden, heads, mlp_ratio, area) for _ in range(2))) for _ in range(repeats)
        )
        self.exit = Conv((1 + repeats) * hidden, out_channels)
        self.scale = nn.Parameter(0.01 * torch.ones(out_channels)) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.enter(x)]
        for block in self.inner:
            maps.append(block(maps[-1]))
        y = self.exit(torch.cat(maps, 1))
        return y if self.scale is None else x + self.scale.view(1, -1, 1, 1) * y

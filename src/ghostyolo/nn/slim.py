"""The blocks of the ghostyolo family: Ghost modules where they pay.

A Ghost module makes the cheap half of its maps with a depthwise convolution. That buys channels at 1/16 and 1/32, and
moves memory for nothing at 1/2 and 1/4 (docs/design/family.md has the measurements). All widths are multiples of 16
(but the 8 channels of ``p`` at 1/2), so that both halves fill whole vectors, and all activations are ReLU, which
engines fuse into convolutions.

Shapes: (B, C, H, W) in and out. ``branches`` is the number of re-parameterized branches in training, ``dense_branches``
that of dense 3x3 convolutions, each of which costs a training step as much as the convolution itself.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.nn.ghost import GhostBottleneck, GhostModule
from ghostyolo.nn.reparam import RepConv


def relu() -> nn.Module:
    """Return a ReLU that works in place."""
    return nn.ReLU(inplace=True)


class GhostDownsample(nn.Sequential):
    """Halves the map by a depthwise 3x3, then widens it.

    A Ghost module widens it at a quarter of the positions.
    """

    def __init__(self, in_channels: int, out_channels: int, branches: int) -> None:
        super().__init__(
            RepConv(in_channels, in_channels, 3, 2, in_channels, branches=branches),
            GhostModule(in_channels, out_channels, branches=branches),
        )


class GhostStage(nn.Sequential):
    """A halving and then Ghost bottlenecks.

    A Ghost module or one dense 3x3 halves the map; the first of ``depth`` bottlenecks may be gated.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        depth: int,
        *,
        expansion: float = 2.0,
        squeeze_excite: bool,
        attention: str,
        dense_downsample: bool,
        branches: int,
        dense_branches: int,
    ) -> None:
        expanded = round(out_channels * expansion / 16) * 16
        super().__init__(
            RepConv(in_channels, out_channels, 3, 2, act=relu, branches=dense_branches)
            if dense_downsample
            else GhostDownsample(in_channels, out_channels, branches),
            *(
                GhostBottleneck(
                    out_channels,
                    expanded,
                    out_channels,
                    squeeze_excite=squeeze_excite,
                    attention=attention if index == 0 else "none",
                    branches=branches,
                )
                for index in range(depth)
            ),
        )


class GhostNode(nn.Sequential):
    """A neck's work at one level: a Ghost module and ``depth`` Ghost bottlenecks."""

    def __init__(self, channels: int, depth: int, branches: int) -> None:
        super().__init__(
            GhostModule(channels, channels, branches=branches),
            *(GhostBottleneck(channels, channels, channels, branches=branches) for _ in range(depth)),
        )


class DenseBottleneck(nn.Module):
    """YOLOv5's bottleneck: two dense 3x3 through half of the channels, a shortcut."""

    def __init__(self, channels: int, dense_branches: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            RepConv(channels, channels // 2, 3, act=relu, branches=dense_branches),
            RepConv(channels // 2, channels, 3, act=relu, branches=dense_branches),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.layers(x))


class DenseStage(nn.Sequential):
    """The control of :class:`GhostStage`: a dense 3x3 of stride 2 and ``depth`` dense bottlenecks."""

    def __init__(self, in_channels: int, out_channels: int, depth: int, dense_branches: int) -> None:
        super().__init__(
            RepConv(in_channels, out_channels, 3, 2, act=relu, branches=dense_branches),
            *(DenseBottleneck(out_channels, dense_branches) for _ in range(depth)),
        )


class DenseNode(nn.Sequential):
    """A neck's work at one level: a 1x1 and ``depth`` dense bottlenecks."""

    def __init__(self, channels: int, depth: int, branches: int, dense_branches: int) -> None:
        super().__init__(
            RepConv(channels, channels, act=relu, branches=branches),
            *(DenseBottleneck(channels, dense_branches) for _ in range(depth)),
        )


class AddUp(nn.Module):
    """Add a coarser map: 1x1 convolution at its own size, nearest upsampling, sum.

    Equal to concatenation and a 1x1 convolution, for a quarter of the work on the coarser map.
    """

    def __init__(self, coarse_channels: int, channels: int, branches: int) -> None:
        super().__init__()
        self.project = RepConv(coarse_channels, channels, branches=branches, identity=False)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return fine + F.interpolate(self.project(coarse), scale_factor=2.0, mode="nearest")


class AddDown(nn.Module):
    """Add a finer map: depthwise 3x3 of stride 2, 1x1 convolution, sum."""

    def __init__(self, fine_channels: int, channels: int, branches: int) -> None:
        super().__init__()
        self.halve = RepConv(fine_channels, fine_channels, 3, 2, fine_channels, branches=branches)
        self.project = RepConv(fine_channels, channels, branches=branches, identity=False)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return coarse + self.project(self.halve(fine))

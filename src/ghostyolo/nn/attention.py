"""Attention of Ghost bottlenecks: squeeze-excite, and the gates of a Ghost module's output.

A gate is built as ``Gate(in_channels, out_channels)`` and called as ``gate(x, ghost)``: ``x`` (B, C_in, H, W) is what
went into the Ghost module, ``ghost`` (B, C_out, H, W) what came out; it returns ``ghost`` weighted, same shape.

Sources: SE (arXiv 1709.01507); DFC from GhostNetV2 (2211.12905, section 3.2); PSA is not in any GhostNet paper: a
widely read article calls "GhostNetV3" a net with it, and we keep the two apart by name.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.nn.channels import make_divisible
from ghostyolo.nn.reparam import ConvNorm


class SqueezeExcite(nn.Module):
    """Weights channels by their global mean, through a quarter (multiple of 4) of them."""

    def __init__(self, channels: int, ratio: float = 0.25) -> None:
        super().__init__()
        reduced = make_divisible(channels * ratio, 4)
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        return x * F.hardsigmoid(self.expand(self.act(self.reduce(pooled))))


class DfcGate(nn.Module):
    """Decoupled fully connected attention: long range along rows, then columns, at half resolution.

    The sigmoid comes before the nearest upsampling: the same values for a quarter of the work.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.project = ConvNorm(in_channels, out_channels)
        self.horizontal = ConvNorm(out_channels, out_channels, (1, 5), groups=out_channels)
        self.vertical = ConvNorm(out_channels, out_channels, (5, 1), groups=out_channels)

    def forward(self, x: Tensor, ghost: Tensor) -> Tensor:
        # A single row or column cannot be halved; the gate then works at full resolution.
        small = F.avg_pool2d(x, 2, 2) if min(x.shape[-2:]) > 1 else x
        gate = torch.sigmoid(self.vertical(self.horizontal(self.project(small))))
        return ghost * F.interpolate(gate, size=ghost.shape[-2:], mode="nearest")


class PsaGate(nn.Module):
    """Pixel-shuffle attention: every sub-pixel phase of every channel has a weight of its own.

    Equal to: space to depth by r = 2, channel attention on the C r^2 channels (mean, 1x1 reduce, ReLU, 1x1 expand,
    sigmoid, multiply), depth to space. Written on strided views and a tiled weight, it moves no data between
    channels and takes odd sizes: a phase is then one row or column shorter, and its mean is over what it has.

    ``in_channels`` is unused: PSA looks at the Ghost module's output; the argument keeps gates exchangeable.
    """

    block = 2

    def __init__(self, in_channels: int, out_channels: int, ratio: float = 1 / 64) -> None:
        super().__init__()
        del in_channels
        phases = out_channels * self.block**2
        # A sixteenth of what SE keeps: at r = 2 that has about the parameters of the DFC gate it replaces.
        reduced = make_divisible(out_channels * ratio, 4)
        self.reduce = nn.Conv2d(phases, reduced, 1)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(reduced, phases, 1)

    def forward(self, x: Tensor, ghost: Tensor) -> Tensor:
        batch, channels, height, width = ghost.shape
        block = self.block
        # A map of one pixel has empty phases: their mean is 0, as of an all-zero phase.
        means = [
            ghost[:, :, row::block, column::block].sum((2, 3))
            / max((height - row + 1) // block * ((width - column + 1) // block), 1)
            for row in range(block)
            for column in range(block)
        ]
        pooled = torch.stack(means, 2).reshape(batch, channels * block**2, 1, 1)
        weight = torch.sigmoid(self.expand(self.act(self.reduce(pooled))))
        weight = weight.reshape(batch, channels, block, block)
        tiled = weight.repeat(1, 1, (height + 1) // block, (width + 1) // block)
        return ghost * tiled[:, :, :height, :width]


GATES: dict[str, type[nn.Module] | None] = {"dfc": DfcGate, "psa": PsaGate, "none": None}
"""Gates by name; ``none`` leaves the Ghost module as in V1. A new gate is one class and one line here."""

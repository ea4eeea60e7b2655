"""The block of YOLOv8: the split-and-gather C2f of dense 3x3 bottlenecks.

All maps are (B, C, H, W). YOLOv8 has no paper; the block is that of its published networks, held by their parameter
counts and FLOPs in the tests.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ghostyolo.nn.blocks import Conv


class DenseBottleneck(nn.Module):
    """Two dense 3x3 convolutions of one width.

    The input is added where ``shortcut`` is set.
    """

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.first = Conv(channels, channels, 3)
        self.second = Conv(channels, channels, 3)
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return x + y if self.add else y


class C2f(nn.Module):
    """YOLOv8's block: a split, and bottlenecks in a chain.

    1x1, split in two halves, bottlenecks each fed by the last, concat of all, 1x1 exit.

    Args:
        out_channels: also twice the width of the bottlenecks.
        repeats: number of bottlenecks.
        shortcut: whether they add their input.
    """

    def __init__(self, in_channels: int, out_channels: int, repeats: int, shortcut: bool = False) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.enter = Conv(in_channels, 2 * hidden)
        self.inner = nn.ModuleList(DenseBottleneck(hidden, shortcut) for _ in range(repeats))
        self.exit = Conv((2 + repeats) * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        maps = list(self.enter(x).chunk(2, 1))
        for block in self.inner:
            maps.append(block(maps[-1]))
        return self.exit(torch.cat(maps, 1))

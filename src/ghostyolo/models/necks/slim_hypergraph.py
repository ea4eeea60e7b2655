"""The neck of the ghostyolo family.

YOLOv13's hypergraph correlation and gated tunnels, in few channels.

Three levels meet at 1/16 by 1x1 convolutions and addition. Half of the channels go through an adaptive hypergraph,
which relates all positions to a few learned hyperedges, the other half through a depthwise convolution, which sees
neighbours. Gated tunnels hand the result to all levels; then one way down and one way up, of nodes that are joined by
addition. Source of the correlation and the tunnels: YOLOv13 (arXiv 2506.17733, section 3). Why this form:
docs/design/family.md. In ``p``, where correlation costs a tenth of the time, nodes are all there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.models.registry import register_neck
from ghostyolo.nn.hypergraph import HypergraphConv, Tunnel
from ghostyolo.nn.reparam import RepConv
from ghostyolo.nn.slim import AddDown, AddUp, DenseNode, GhostNode, relu

_SCALES: dict[str, dict[str, Any]] = {
    "p": {"widths": (32, 64, 96), "depth": 0, "hyperedges": 0, "dense": True},
    "n": {"widths": (48, 80, 128), "depth": 1, "hyperedges": 8, "dense": True},
    "s": {"widths": (64, 128, 192), "depth": 1, "hyperedges": 8, "dense": True},
    "m": {"widths": (96, 192, 288), "depth": 1, "hyperedges": 8, "dense": True},
    "l": {"widths": (144, 288, 400), "depth": 1, "hyperedges": 8, "dense": True},
    "x": {"widths": (192, 384, 544), "depth": 1, "hyperedges": 8, "dense": True},
}


class SlimCorrelation(nn.Module):
    """Joins three maps in one that sees all of the picture.

    P3, P4, P5 of widths ``in_channels`` to one map of P4's size and ``channels`` channels.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, hyperedges: int, branches: int) -> None:
        super().__init__()
        half = channels // 2
        fine, middle, coarse = in_channels
        self.fine = RepConv(fine, channels, branches=branches, identity=False)
        self.middle = RepConv(middle, channels, branches=branches, identity=False)
        self.coarse = AddUp(coarse, channels, branches)
        self.correlate = HypergraphConv(half, hyperedges, max(half // 16, 1))
        self.local = RepConv(half, half, 3, groups=half, act=relu, branches=branches)
        self.exit = RepConv(channels, channels, act=relu, branches=branches, identity=False)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        fine, middle, coarse = levels
        gathered = self.coarse(self.fine(F.avg_pool2d(fine, 2)) + self.middle(middle), coarse).relu()
        distant, near = gathered.chunk(2, 1)
        return self.exit(torch.cat((self.correlate(distant), self.local(near)), 1))


@register_neck("slim_hypergraph", scales=_SCALES)
class SlimHypergraphNeck(nn.Module):
    """Input and output: three maps at strides 8, 16, 32.

    Args:
        in_channels: of the backbone's maps.
        widths: of the neck's maps.
        depth: bottlenecks of each node.
        hyperedges: 0 leaves correlation and tunnels out.
        dense: nodes of a 1x1 convolution and dense 3x3 bottlenecks, instead of Ghost modules and bottlenecks.
        branches: of every convolution in training.
        dense_branches: the most that dense 3x3 convolutions have; default: as many as the others.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        widths: Sequence[int] = (64, 96, 128),
        depth: int = 1,
        hyperedges: int = 8,
        dense: bool = False,
        branches: int = 3,
        dense_branches: int | None = None,
    ) -> None:
        super().__init__()
        self.channels = tuple(widths)
        w3, w4, w5 = widths
        dense_branches = branches if dense_branches is None else min(branches, dense_branches)

        def node(channels: int) -> nn.Module:
            if dense:
                return DenseNode(channels, depth, branches, dense_branches)
            return GhostNode(channels, depth, branches)

        self.laterals = nn.ModuleList(
            RepConv(have, want, act=relu, branches=branches, identity=False)
            for have, want in zip(in_channels, widths, strict=True)
        )
        self.correlate = SlimCorrelation(widths, w4, hyperedges, branches) if hyperedges else None
        self.to3 = RepConv(w4, w3, branches=branches, identity=False) if hyperedges else None
        self.to5 = RepConv(w4, w5, branches=branches, identity=False) if hyperedges else None
        self.tunnels = nn.ModuleList(Tunnel() for _ in range(3 if hyperedges else 0))
        self.add4, self.add3 = AddUp(w5, w4, branches), AddUp(w4, w3, branches)
        self.down4, self.down3 = node(w4), node(w3)
        self.join4, self.join5 = AddDown(w3, w4, branches), AddDown(w4, w5, branches)
        self.up4, self.up5 = node(w4), node(w5)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        p3, p4, p5 = (lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True))
        if self.correlate is not None:
            h4 = self.correlate((p3, p4, p5))
            h3 = F.interpolate(self.to3(h4), scale_factor=2.0, mode="nearest")  # type: ignore[misc]
            h5 = self.to5(F.avg_pool2d(h4, 2))  # type: ignore[misc]
            p3, p4, p5 = (tunnel(p, h) for tunnel, p, h in zip(self.tunnels, (p3, p4, p5), (h3, h4, h5), strict=True))
        middle = self.down4(self.add4(p4, p5))
        out3 = self.down3(self.add3(p3, middle))
        out4 = self.up4(self.join4(middle, out3))
        return [out3, out4, self.up5(self.join5(p5, out4))]

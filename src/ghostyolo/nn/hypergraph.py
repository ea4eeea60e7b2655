"""Adaptive hypergraph correlation and its distribution over the network (YOLOv13, arXiv 2506.17733, section 3).

HyperACE gathers P3, P4, P5 at P4's resolution and correlates all positions through a few learned hyperedges; FullPAD
hands the result to every level through gated tunnels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.nn.blocks import Conv, DSC3k


class AdaptiveHyperedges(nn.Module):
    """Participation of every token in every hyperedge.

    Tokens (B, N, D) to (B, N, M), a softmax over the TOKENS for each of the M hyperedges. The published mean over
    heads of per-head dot products, each divided by sqrt(D / heads), is one matrix product divided by
    ``heads x sqrt(D / heads)``: no head is ever cut out.
    """

    def __init__(self, channels: int, hyperedges: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.hyperedges = hyperedges
        self.scale = 1 / (heads * math.sqrt(channels / heads))
        self.prototypes = nn.Parameter(torch.empty(hyperedges, channels))
        nn.init.xavier_uniform_(self.prototypes)
        self.context = nn.Linear(2 * channels, hyperedges * channels)
        self.query = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, _, channels = tokens.shape
        summary = torch.cat((tokens.mean(1), tokens.amax(1)), 1)
        shift = self.context(summary).reshape(batch, self.hyperedges, channels)
        prototypes = self.prototypes + shift
        logits = self.query(tokens) @ prototypes.transpose(1, 2) * self.scale
        return self.dropout(logits).softmax(1)


class HypergraphConv(nn.Module):
    """Tokens to hyperedges and back, with a residual.

    Input and output (B, D, H, W); linear in H x W.
    """

    def __init__(self, channels: int, hyperedges: int, heads: int) -> None:
        super().__init__()
        self.participation = AdaptiveHyperedges(channels, hyperedges, heads)
        self.edge = nn.Linear(channels, channels)
        self.node = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        participation = self.participation(tokens)
        edges = F.gelu(self.edge(participation.transpose(1, 2) @ tokens))
        nodes = F.gelu(self.node(participation @ edges))
        return x + nodes.transpose(1, 2).reshape(x.shape)


class C3AH(nn.Module):
    """Two 1x1 entries, hypergraph convolution on one, concat, 1x1 exit. Heads of 16 channels."""

    def __init__(self, in_channels: int, out_channels: int, hyperedges: int, expansion: float = 1.0) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.enter_deep = Conv(in_channels, hidden)
        self.enter_skip = Conv(in_channels, hidden)
        self.hypergraph = HypergraphConv(hidden, hyperedges, max(hidden // 16, 1))
        self.exit = Conv(2 * hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.exit(torch.cat((self.hypergraph(self.enter_deep(x)), self.enter_skip(x)), 1))


class HyperAce(nn.Module):
    """Hypergraph-based adaptive correlation enhancement of three levels.

    Inputs P3, P4, P5 of widths ``in_channels`` at strides s, 2 s, 4 s; output (B, out, H4, W4).

    Args:
        repeats: local blocks in the chain of part 3.
        hyperedges: M; 4, 8, 8, 12 for n, s, l, x.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, repeats: int = 1, hyperedges: int = 8) -> None:
        super().__init__()
        part = out_channels // 2
        self.gather = Conv(sum(in_channels), in_channels[1])
        self.enter = Conv(in_channels[1], 3 * part)
        self.global_first = C3AH(part, part, hyperedges)
        self.global_second = C3AH(part, part, hyperedges)
        self.local = nn.ModuleList(DSC3k(part, part, 2, 0.5) for _ in range(repeats))
        self.exit = Conv((4 + repeats) * part, out_channels)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        p3, p4, p5 = levels
        gathered = torch.cat((F.avg_pool2d(p3, 2), p4, F.interpolate(p5, scale_factor=2.0, mode="nearest")), 1)
        passed, correlated, chain = self.enter(self.gather(gathered)).chunk(3, 1)
        maps = [passed, self.global_first(correlated), chain]
        for block in self.local:
            maps.append(block(maps[-1]))
        maps.append(self.global_second(correlated))
        return self.exit(torch.cat(maps, 1))


class Tunnel(nn.Module):
    """Adds correlated features to a level: ``x + gate * h``.

    It is FullPAD's; the learned gate starts at 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, enhancement: Tensor) -> Tensor:
        return x + self.gate * enhancement

"""Hypergraph convolution against a slow plain version with heads, as the paper writes it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ghostyolo.nn.hypergraph import HypergraphConv, Tunnel


def with_heads(module: HypergraphConv, x: torch.Tensor, heads: int) -> torch.Tensor:
    """One picture, one hyperedge, one head at a time."""
    part = module.participation
    out = []
    for maps in x:
        tokens = maps.flatten(1).T
        channels = tokens.shape[1]
        summary = torch.cat((tokens.mean(0), tokens.max(0).values))
        prototypes = part.prototypes + part.context(summary).reshape(part.hyperedges, channels)
        queries = part.query(tokens)
        size = channels // heads
        logits = torch.zeros(len(tokens), part.hyperedges, dtype=x.dtype)
        for edge in range(part.hyperedges):
            for head in range(heads):
                cut = slice(head * size, (head + 1) * size)
                logits[:, edge] += queries[:, cut] @ prototypes[edge, cut] / math.sqrt(size) / heads
        participation = logits.softmax(0)
        edges = F.gelu(module.edge(participation.T @ tokens))
        nodes = F.gelu(module.node(participation @ edges))
        out.append((tokens + nodes).T.reshape(maps.shape))
    return torch.stack(out)


def test_one_matrix_product_equals_the_mean_over_heads():
    torch.manual_seed(0)
    module = HypergraphConv(32, 3, 4).double().eval()
    x = torch.randn(2, 32, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(module(x), with_heads(module, x, 4))


def test_a_fresh_tunnel_passes_its_input():
    x = torch.randn(1, 2, 3, 3)
    assert torch.equal(Tunnel()(x, torch.randn(1, 2, 3, 3)), x)

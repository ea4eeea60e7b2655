"""Puts the hypergraph convolution's projections where they cost least.

The layout is C x N. Equal to :class:`ghostyolo.nn.hypergraph.HypergraphConv`: the query projection acts on the M
prototypes instead of on the N tokens (its bias adds one number to all tokens of a hyperedge, which a softmax over
tokens does not see), the node projection on the M hyperedges, and nothing is transposed.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.export.rewrite.graph import PassReport
from ghostyolo.nn.hypergraph import HypergraphConv


class DeployedHypergraph(nn.Module):
    """A hypergraph convolution in C x N layout.

    Input and output are (B, D, H, W), as of the module that it is made from.
    """

    def __init__(self, trained: HypergraphConv) -> None:
        super().__init__()
        participation = trained.participation
        self.hyperedges, self.channels = participation.prototypes.shape
        self.context, self.edge, self.node = participation.context, trained.edge, trained.node
        query = participation.query.weight.detach() * participation.scale
        self.query = nn.Parameter(query, requires_grad=False)
        self.prototypes = participation.prototypes

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)  # (B, D, N)
        summary = torch.cat((tokens.mean(2), tokens.amax(2)), 1)
        prototypes = self.prototypes + self.context(summary).reshape(-1, self.hyperedges, self.channels)
        participation = (prototypes @ self.query @ tokens).softmax(2)  # (B, M, N)
        edges = F.gelu(self.edge(participation @ tokens.transpose(1, 2)))  # (B, M, D)
        sent = edges @ self.node.weight.t()  # (B, M, D), without the bias: a token's shares do not add up to 1
        nodes = F.gelu(sent.transpose(1, 2) @ participation + self.node.bias.unsqueeze(1))
        return x + nodes.reshape(x.shape)


def with_deployed_hypergraphs(model: nn.Module) -> tuple[nn.Module, PassReport]:
    """The network with each of its hypergraph convolutions exchanged; itself where it has none."""
    report = PassReport("hypergraph")
    if not any(isinstance(module, HypergraphConv) for module in model.modules()):
        return model, report
    model = copy.deepcopy(model)
    for path, module in list(model.named_modules()):
        if isinstance(module, HypergraphConv):
            model.set_submodule(path, DeployedHypergraph(module).eval())
            report.did("hypergraph convolution simplified", "hypergraph convolutions simplified")
    return model, report

"""Turns small Ghost modules into one 1x1 and one depthwise convolution.

Both have full width, in place of halves side by side.

``cat(p, act(K * p))`` with ``p = act(W x)`` is ``act([1, K] * act([W, W] x))``: the primary half is computed twice, and
a depthwise kernel that has a one in its middle keeps the first copy. That holds where ``act`` changes nothing the
second time (ReLU, or none). Worth it where both halves fit into the channels that an engine handles together anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from ghostyolo.export.rewrite.graph import (
    ATEN,
    PassReport,
    Writer,
    argument,
    channels_of,
    pair,
    shape_of,
    weights_of,
    with_graph,
)
from ghostyolo.export.rewrite.operators import is_channel_cat, is_dense, is_depthwise


@dataclass(frozen=True)
class _Ghost:
    primary: Node
    cheap: Node
    active: bool


def with_twins(module: GraphModule, block: int) -> tuple[GraphModule, PassReport]:
    """Rewrite the Ghost modules whose whole output has at most ``block`` channels."""
    report = PassReport("twins")
    graph = module.graph
    writer = Writer(module, graph)
    for node in list(graph.nodes):
        if not is_channel_cat(node) or channels_of(node) > block:
            continue
        ghost = _ghost(node)
        if ghost is None:
            continue
        with graph.inserting_before(node):
            _replace(node, ghost, module, writer)
        report.did("Ghost module as twins", "Ghost modules as twins")
    return with_graph(module, graph), report


def _replace(node: Node, ghost: _Ghost, module: GraphModule, writer: Writer) -> None:
    primary, cheap = ghost.primary, ghost.cheap
    kernel, bias = weights_of(module, cheap)
    keep = torch.zeros_like(kernel)
    keep[:, :, kernel.shape[2] // 2, kernel.shape[3] // 2] = 1
    twice = [None if one is None else torch.cat((one, one)) for one in weights_of(module, primary)]
    assert twice[0] is not None
    first = writer.conv(primary, primary.args[0], twice[0], twice[1], "twins", 1)
    if ghost.active:
        first = writer.call(ATEN.relu.default, first, like=primary)
    offset = None if bias is None else torch.cat((torch.zeros_like(bias), bias))
    last = writer.conv(cheap, first, torch.cat((keep, kernel)), offset, "twins", 2 * channels_of(primary))
    if ghost.active:
        last = writer.call(ATEN.relu.default, last, like=cheap)
    node.replace_all_uses_with(last)


def _ghost(cat: Node) -> _Ghost | None:
    """The Ghost module that ends in this concatenation."""
    parts: Any = cat.args[0]
    if len(parts) != 2:
        return None
    first, second = parts
    active = first.target is ATEN.relu.default and second.target is ATEN.relu.default
    primary, cheap = (first.args[0], second.args[0]) if active else (first, second)
    if not (is_dense(primary) and is_depthwise(cheap) and cheap.args[0] is first):
        return None
    kernel = shape_of(cheap.args[1])
    assert kernel is not None
    same = pair(argument(cheap, 4, "padding", 0)) == (kernel[2] // 2, kernel[3] // 2)
    odd = kernel[2] % 2 == kernel[3] % 2 == 1
    still = pair(argument(cheap, 3, "stride", 1)) == pair(argument(cheap, 5, "dilation", 1)) == (1, 1)
    # Whoever else reads a half would have it computed once more.
    alone = len(first.users) == 2 and len(second.users) == 1 and (not active or len(primary.users) == 1)
    return _Ghost(primary, cheap, active) if same and odd and still and alone else None

"""Nearest upsampling as late as possible, by whole numbers where it can be.

What is done to each pixel alone is done before pixels are repeated. A size that is always the same multiple of the
map's own is said as that multiple: a file for any size then computes no sizes.
"""

from __future__ import annotations

from typing import Any

from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from ghostyolo.export.rewrite.graph import (
    ATEN,
    PassReport,
    Writer,
    argument,
    channels_of,
    constant_of,
    shape_of,
    with_graph,
)
from ghostyolo.export.rewrite.operators import BINARY, UNARY, UPSAMPLE, is_pointwise


def upsample_late(module: GraphModule) -> tuple[GraphModule, PassReport]:
    """Move work that does not widen ahead of upsamplings.

    Such work is 1x1 convolutions, activations and products with constants.
    """
    report = PassReport("upsampling")
    graph = Graph()
    writer = Writer(module, graph)
    made: dict[Node, Node] = {}
    low: dict[Node, Node] = {}  # map that is upsampled -> its upsampling in the new graph

    for node in module.graph.nodes:
        if node.target in UPSAMPLE and _grows(node):
            made[node] = low[node] = _by_scale(writer, node, made, report)
        elif (source := _ahead(module, node)) is not None and source in low:
            up = low[source]
            inner: Any = up.args[0]
            early = writer.call(
                node.target,  # type: ignore[arg-type]
                *(inner if one is source else made[one] if isinstance(one, Node) else one for one in node.args),
                like=node,
                **node.kwargs,
            )
            made[node] = low[node] = writer.call(up.target, early, *up.args[1:], like=source)  # type: ignore[arg-type]
            report.did("operator moved ahead of an upsampling", "operators moved ahead of upsamplings")
        else:
            made[node] = writer.copy(node, made.__getitem__)
    return with_graph(module, graph), report


def _by_scale(writer: Writer, node: Node, made: dict[Node, Node], report: PassReport) -> Node:
    before, after = shape_of(node.args[0]), shape_of(node)
    assert before is not None
    assert after is not None
    scales = [_multiple(old, new) for old, new in zip(before[2:], after[2:], strict=True)]
    if node.target is not ATEN.upsample_nearest2d.vec or argument(node, 2, "scale_factors") or None in scales:
        return writer.copy(node, made.__getitem__)
    report.did("upsampling by a fixed multiple", "upsamplings by fixed multiples")
    factors = [float(scale) for scale in scales if scale is not None]
    return writer.call(node.target, made[node.args[0]], None, factors, like=node)  # type: ignore[index, arg-type]


def _multiple(old: Any, new: Any) -> int | None:
    """The whole number that a size, which may be a symbol, always grows by."""
    return next((times for times in range(1, 9) if statically_known_true(new == old * times)), None)


def _grows(node: Node) -> bool:
    before, after = shape_of(node.args[0]), shape_of(node)
    return before is not None and after is not None and before != after


def _ahead(module: GraphModule, node: Node) -> Node | None:
    """The only map that an operator on single pixels reads."""
    if is_pointwise(node):
        source: Any = node.args[0]
        return source if channels_of(node) <= channels_of(source) else None
    if node.target in UNARY:
        return node.args[0]  # type: ignore[return-value]
    if node.target in BINARY:
        maps = [one for one in node.args[:2] if isinstance(one, Node) and constant_of(module, one) is None]
        sizes = [constant_of(module, one) for one in node.args[:2] if one not in maps]
        flat = all(one is None or one.ndim == 0 or tuple(one.shape[-2:]) == (1, 1) for one in sizes)
        return maps[0] if len(maps) == 1 and flat and shape_of(node) == shape_of(maps[0]) else None
    return None

"""Turns a head's maps into rows of anchors, level by level.

It turns them while they are maps, not after all are side by side.

``transpose(cat([flatten(map) ...], 2), 1, 2)`` is ``cat([flatten(permute(map, 0, 2, 3, 1)) ...], 1)``. Engines that
keep channels last in memory then move nothing, and ONNX Runtime turns a map while it leaves its blocked layout.
"""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule, Node

from ghostyolo.export.rewrite.graph import ATEN, PassReport, Writer, argument, is_map, shape_of, with_graph


def anchors_last(module: GraphModule) -> tuple[GraphModule, PassReport]:
    """Rewrite each concatenation of flattened maps that is only read transposed."""
    report = PassReport("anchors last")
    graph = module.graph
    writer = Writer(module, graph)
    for node in list(graph.nodes):
        if not _turns(node):
            continue
        cat: Any = node.args[0]
        with graph.inserting_before(node):
            rows = [_rows(writer, flat) for flat in cat.args[0]]
            joined = writer.call(ATEN.cat.default, rows, 1, like=cat)
        node.replace_all_uses_with(joined)
        report.did("set of maps turned level by level", "sets of maps turned level by level")
    return with_graph(module, graph), report


def _rows(writer: Writer, flat: Any) -> Node:
    turned = writer.call(ATEN.permute.default, flat.args[0], [0, 2, 3, 1], like=flat)
    return writer.call(ATEN.flatten.using_ints, turned, 1, 2, like=flat)


def _turns(node: Node) -> bool:
    if node.target is not ATEN.transpose.int or {axis % 3 for axis in node.args[1:3]} != {1, 2}:  # type: ignore[operator]
        return False
    cat: Any = node.args[0]
    return (
        cat.op == "call_function"
        and cat.target is ATEN.cat.default
        and len(shape_of(cat) or ()) == 3
        and argument(cat, 1, "dim", 0) in (2, -1)
        and len(cat.users) == 1
        and all(_is_flat(one) for one in cat.args[0])
    )


def _is_flat(node: Node) -> bool:
    return (
        node.target is ATEN.flatten.using_ints
        and is_map(node.args[0])
        and argument(node, 1, "start_dim", 0) == 2
        and argument(node, 2, "end_dim", -1) in (-1, 3)
    )

"""Brings a captured graph into the form that the other passes read.

Nothing writes in place then, and chunks are slices.
"""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule, Node

from ghostyolo.export.rewrite.graph import ATEN, PassReport, Writer, argument, is_pick, shape_of, with_graph

_IN_PLACE = {
    ATEN.relu_.default: ATEN.relu.default,
    ATEN.silu_.default: ATEN.silu.default,
    ATEN.hardswish_.default: ATEN.hardswish.default,
    ATEN.hardsigmoid_.default: ATEN.hardsigmoid.default,
    ATEN.leaky_relu_.default: ATEN.leaky_relu.default,
    ATEN.hardtanh_.default: ATEN.hardtanh.default,
    ATEN.mish_.default: ATEN.mish.default,
    ATEN.add_.Tensor: ATEN.add.Tensor,
    ATEN.mul_.Tensor: ATEN.mul.Tensor,
}
_NOTHING = frozenset({ATEN.dropout.default, ATEN.contiguous.default, ATEN.clone.default, ATEN.alias.default})


WRITES = "writes into a map that others read"


def writes_in_place(module: GraphModule) -> bool:
    """Whether some operator still writes into what it was given.

    Then order and shared memory matter.
    """
    return any(_schema(node) is not None and _schema(node).is_mutable for node in module.graph.nodes)


def _schema(node: Node) -> Any:
    return getattr(node.target, "_schema", None)


def plain(module: GraphModule) -> tuple[GraphModule, PassReport]:
    """See the module. What writes into a map that others read afterwards is left."""
    report = PassReport("plain")
    graph = module.graph
    for node in list(graph.nodes):
        if node.target in _IN_PLACE:
            _out_of_place(node, report)
    for node in list(graph.nodes):
        if node.target in (ATEN.chunk.default, ATEN.split.Tensor, ATEN.split_with_sizes.default):
            _sliced(module, node, report)
        elif node.target in _NOTHING and not (node.target is ATEN.dropout.default and argument(node, 2, "train")):
            report.did("operator that does nothing removed", "operators that do nothing removed")
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.target is ATEN.slice.Tensor and _whole(node):
            report.did("slice that takes all removed", "slices that take all removed")
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    return with_graph(module, graph), report


def _out_of_place(node: Node, report: PassReport) -> None:
    written: Any = node.args[0]
    schema = _schema(written)
    # Others may see what was written: readers of the map, and of the memory that a view of another map shares.
    shared = schema is None or any(one.alias_info is not None for one in schema.returns)
    if shared or len(written.users) > 1:
        report.left(WRITES, node)
        return
    node.target = _IN_PLACE[node.target]  # type: ignore[index]


def _sliced(module: GraphModule, node: Node, report: PassReport) -> None:
    axis = int(argument(node, 2, "dim", 0))
    picks = list(node.users)
    sizes = [shape_of(pick) for pick in picks]
    source: Any = node.args[0]
    if not all(is_pick(pick) for pick in picks) or not all(
        size is not None and isinstance(size[axis], int) for size in sizes
    ):
        report.left("divides into parts of unknown size", node)
        return
    parts = node.meta["val"]
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + int(part.shape[axis]))
    writer = Writer(module, module.graph)
    for pick in picks:
        number = int(pick.args[1])  # type: ignore[arg-type]
        with module.graph.inserting_before(pick):
            cut = writer.call(ATEN.slice.Tensor, source, axis, starts[number], starts[number + 1], like=node)
        pick.replace_all_uses_with(cut)
        module.graph.erase_node(pick)
    module.graph.erase_node(node)


def _whole(node: Node) -> bool:
    before, after = shape_of(node.args[0]), shape_of(node)
    axis = argument(node, 1, "dim", 0)
    return (
        before is not None
        and after is not None
        and argument(node, 4, "step", 1) == 1
        and isinstance(before[axis], int)
        and before[axis] == after[axis]
    )

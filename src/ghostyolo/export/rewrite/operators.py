"""What ATen operators do to channels.

``TIED``: every output channel comes from the input channel of the same number alone. A map in parts then stays in
parts. A zero channel may become another finite number on its way (a sigmoid's 0.5): whoever reads it has zero weights.
"""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from ghostyolo.export.rewrite.graph import ATEN, argument, channels_of, is_map, pair, shape_of

UNARY = frozenset(
    {
        ATEN.relu.default,
        ATEN.silu.default,
        ATEN.sigmoid.default,
        ATEN.hardsigmoid.default,
        ATEN.hardswish.default,
        ATEN.hardtanh.default,
        ATEN.gelu.default,
        ATEN.leaky_relu.default,
        ATEN.mish.default,
        ATEN.tanh.default,
        ATEN.clone.default,
        ATEN.contiguous.default,
    }
)
SPATIAL = frozenset(
    {
        ATEN.avg_pool2d.default,
        ATEN.max_pool2d.default,
        ATEN.adaptive_avg_pool2d.default,
        ATEN.upsample_nearest2d.vec,
        ATEN.upsample_nearest2d.default,
    }
)
REDUCTIONS = frozenset({ATEN.mean.dim, ATEN.sum.dim_IntList, ATEN.amax.default})
BINARY = frozenset({ATEN.add.Tensor, ATEN.sub.Tensor, ATEN.mul.Tensor})
UPSAMPLE = frozenset({ATEN.upsample_nearest2d.vec, ATEN.upsample_nearest2d.default})


def is_conv(node: Any) -> bool:
    """A convolution over maps with weights that are known."""
    return (
        isinstance(node, Node)
        and node.target is ATEN.conv2d.default
        and is_map(node)
        and all(one is None or (isinstance(one, Node) and one.op == "get_attr") for one in node.args[1:3])
    )


def groups_of(conv: Node) -> int:
    """Return the groups of a convolution."""
    return int(argument(conv, 6, "groups", 1))


def is_dense(node: Any) -> bool:
    """Whether a node is a convolution of one group."""
    return is_conv(node) and groups_of(node) == 1


def is_depthwise(node: Any) -> bool:
    """One output channel for each input channel."""
    return is_conv(node) and groups_of(node) == channels_of(node.args[0]) == channels_of(node) > 1


def is_pointwise(node: Any) -> bool:
    """A dense 1x1 of stride 1, which commutes with whatever moves pixels."""
    return (
        is_dense(node)
        and tuple((shape_of(node.args[1]) or ())[2:]) == (1, 1)
        and pair(argument(node, 3, "stride", 1)) == (1, 1)
        and argument(node, 4, "padding", 0) in (0, [0, 0], (0, 0))
    )


def tied_inputs(node: Node) -> list[Node]:
    """Return the maps whose channels go one by one into the node's.

    There are none for other operators.
    """
    if node.op != "call_function" or not is_map(node):
        return []
    if is_depthwise(node):
        return [node.args[0]]  # type: ignore[list-item]
    if node.target in UNARY or node.target in SPATIAL:
        return [node.args[0]] if is_map(node.args[0]) else []  # type: ignore[list-item]
    if node.target in REDUCTIONS:
        axes = argument(node, 1, "dim")
        over_pixels = isinstance(axes, list | tuple) and {int(axis) % 4 for axis in axes} == {2, 3}
        kept = argument(node, 2, "keepdim", False)
        return [node.args[0]] if over_pixels and kept and is_map(node.args[0]) else []  # type: ignore[list-item]
    if node.target is ATEN.slice.Tensor:
        axis = argument(node, 1, "dim", 0)
        return [node.args[0]] if axis % 4 in (2, 3) and is_map(node.args[0]) else []  # type: ignore[list-item]
    if node.target in BINARY:
        return _tied_operands(node)
    return []


def _tied_operands(node: Node) -> list[Node]:
    """Both operands of a sum or product that have its channels; empty where one of the others is not understood."""
    if node.kwargs.get("alpha", 1) != 1:
        return []
    tied = []
    for operand in node.args[:2]:
        if not isinstance(operand, Node):
            continue
        shape = shape_of(operand)
        if shape is None:
            return []
        if is_map(operand) and operand.op != "get_attr" and shape[1] == channels_of(node):
            tied.append(operand)
        elif not (len(shape) == 0 or (operand.op == "get_attr" and len(shape) in (3, 4))):
            return []
    return tied


def channel_slice(node: Node) -> tuple[int, int] | None:
    """First and last-but-one channel of a slice along channels."""
    if node.target is not ATEN.slice.Tensor or not is_map(node) or not is_map(node.args[0]):
        return None
    axis, start, end, step = (
        argument(node, position, name, default)
        for position, name, default in ((1, "dim", 0), (2, "start", None), (3, "end", None), (4, "step", 1))
    )
    if axis % 4 != 1 or step != 1 or not all(isinstance(one, int | None) for one in (start, end)):
        return None
    begin, stop, _ = slice(start, end).indices(channels_of(node.args[0]))  # type: ignore[arg-type]
    return (begin, stop)


def is_channel_cat(node: Node) -> bool:
    """Whether a node puts maps side by side along their channels."""
    return (
        node.target is ATEN.cat.default
        and is_map(node)
        and argument(node, 1, "dim", 0) in (1, -3)
        and all(is_map(part) for part in node.args[0])  # type: ignore[union-attr]
    )

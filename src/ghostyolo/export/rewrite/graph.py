"""Reads and writes a captured network, an FX graph of ATen operators.

Shapes are in ``meta["val"]``.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import Argument, map_arg

ATEN = torch.ops.aten
_ORIGIN = ("nn_module_stack", "stack_trace", "source_fn_stack")  # which layer a node belongs to, for names and messages


def shape_of(value: Any) -> tuple[Any, ...] | None:
    """Return the sizes of a tensor's node, which may be symbols.

    It is None for what is no tensor.
    """
    found = value.meta.get("val") if isinstance(value, Node) else None
    return tuple(found.shape) if isinstance(found, Tensor) else None


def is_map(value: Any) -> bool:
    """Whether a node is a float map (B, C, H, W) of known channels."""
    shape = shape_of(value)
    return (
        shape is not None
        and len(shape) == 4
        and isinstance(shape[1], int)
        and value.meta["val"].dtype.is_floating_point
    )


def channels_of(node: Node) -> int:
    """Return the channels of a map."""
    return int(node.meta["val"].shape[1])


def layer_of(node: Node) -> str:
    """Path of the module that a node came from."""
    paths = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path]
    return str(paths[-1]).removeprefix("network.") if paths else node.name


class Writer:
    """Puts nodes into a graph, each with its shape and layer.

    The layer is that of a node it stands for.
    """

    def __init__(self, module: GraphModule, graph: Graph) -> None:
        self.module, self.graph = module, graph
        self._mode = (
            next(
                (n.meta["val"].fake_mode for n in module.graph.nodes if isinstance(n.meta.get("val"), FakeTensor)),
                None,
            )
            or FakeTensorMode()
        )

    def call(self, target: Callable[..., Any], *args: Any, like: Node, **kwargs: Any) -> Node:
        """A call of an operator."""
        node = self.graph.call_function(target, args, kwargs)
        node.meta = {key: like.meta[key] for key in _ORIGIN if key in like.meta}
        node.meta["val"] = self._value(target, args, kwargs)
        return node

    def conv(self, conv: Node, source: Any, kernel: Tensor, bias: Tensor | None, name: str, groups: int) -> Node:
        """A convolution of ``source`` with the geometry of another one.

        Args:
            conv: stands for it; its layer's name, with ``name`` behind, is that of the weights.
            kernel, bias: (out, in / groups, kh, kw) and (out,).
        """
        base = f"{str(conv.args[1].target).removesuffix('.weight')}.{name}"  # type: ignore[union-attr]
        weight = self.constant(f"{base}.weight", kernel)
        offset = None if bias is None else self.constant(f"{base}.bias", bias)
        places = ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
        rest = [list(pair(argument(conv, place, key, usual))) for place, key, usual in places]
        return self.call(ATEN.conv2d.default, source, weight, offset, *rest, groups, like=conv)

    def copy(self, node: Node, replaced: Callable[[Node], Argument]) -> Node:
        """A node of another graph, reading what ``replaced`` gives for what it read."""
        copied = self.graph.node_copy(node, replaced)
        copied.meta = dict(node.meta)
        return copied

    def constant(self, name: str, tensor: Tensor) -> Node:
        """Add a tensor to the module under a free dotted name.

        It is ``name``, or that with a number.
        """
        number, free = 0, name
        while True:
            taken = find_tensor(self.module, free)
            if taken is None:
                set_tensor(self.module, free, tensor)
            elif not (taken.shape == tensor.shape and torch.equal(taken, tensor)):
                number, free = number + 1, f"{name}_{number + 1}"
                continue
            break
        node = self.graph.get_attr(free)
        node.meta["val"] = self._mode.from_tensor(tensor, static_shapes=True)
        return node

    def _value(self, target: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        values = map_arg((args, kwargs), lambda node: node.meta["val"])
        with self._mode, enable_python_dispatcher(), torch.no_grad():
            return target(*values[0], **values[1])  # type: ignore[index, misc]


def find_tensor(module: nn.Module, name: str) -> Tensor | None:
    """The tensor under a dotted name."""
    *path, last = name.split(".")
    owner: Any = module
    for part in path:
        owner = getattr(owner, part, None)
        if owner is None:
            return None
    found = getattr(owner, last, None)
    return found if isinstance(found, Tensor) else None


def set_tensor(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor under a dotted name of a module."""
    *path, last = name.split(".")
    owner = module
    for part in path:
        if not hasattr(owner, part):
            setattr(owner, part, nn.Module())
        owner = getattr(owner, part)
    owner.register_parameter(last, nn.Parameter(tensor.detach().contiguous(), requires_grad=False))


def constant_of(module: nn.Module, value: Any) -> Tensor | None:
    """The tensor behind a node that reads one of the module's."""
    return find_tensor(module, str(value.target)) if isinstance(value, Node) and value.op == "get_attr" else None


def weights_of(module: nn.Module, conv: Node) -> tuple[Tensor, Tensor | None]:
    """Kernel and bias of a convolution whose weights are known (:func:`operators.is_conv`)."""
    kernel = constant_of(module, conv.args[1])
    assert kernel is not None
    bias = argument(conv, 2, "bias")
    return kernel, None if bias is None else constant_of(module, bias)


def with_graph(module: GraphModule, graph: Graph) -> GraphModule:
    """The module with another graph, without what nothing reads."""
    graph.eliminate_dead_code()
    graph.lint()
    return GraphModule(module, graph)


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of an argument that one number can stand for."""
    numbers = [value] if isinstance(value, int) else list(value)
    return (numbers[0], numbers[-1])


def argument(node: Node, position: int, name: str, default: Any = None) -> Any:
    """An argument by position or by name."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def is_pick(node: Node) -> bool:
    """One of several outputs of the node before it."""
    return node.op == "call_function" and node.target is operator.getitem


@dataclass
class PassReport:
    """What one pass did.

    Attributes:
        name: of the pass.
        done: how often it did what: (one, several) in words -> times.
        kept: why it left something as it was -> the layers.
    """

    name: str
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    kept: dict[str, list[str]] = field(default_factory=dict)

    def did(self, one: str, several: str, times: int = 1) -> None:
        if times:
            self.done[one, several] += times

    def left(self, why: str, node: Node) -> None:
        self.kept.setdefault(why, []).append(layer_of(node))

    def line(self) -> str:
        """``parts: 37 concatenations removed; left as they were: 2 (they ...: layer, layer)``."""
        told = [f"{times} {one if times == 1 else several}" for (one, several), times in self.done.items()]
        for why, layers in self.kept.items():
            told.append(f"left as it was: {len(layers)} ({why}: {', '.join(layers[:3])}{' ...' if layers[3:] else ''})")
        return f"{self.name}: {'; '.join(told) or 'nothing to do'}"

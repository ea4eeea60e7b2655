"""Keeps maps in parts where their readers can take the parts.

No concatenation is left there; idle channels are added where layouts want whole blocks. A convolution over parts is a
sum of convolutions, each with its share of the kernel; engines add the sum into the last one. Operators that keep
channels apart run once a part. Idle channels have kernels of zeros where they are made and where they are read, so that
they never touch an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from ghostyolo.export.rewrite.graph import ATEN, PassReport, Writer, channels_of, constant_of, weights_of, with_graph
from ghostyolo.export.rewrite.layout import Keep, Layout, lay_out
from ghostyolo.export.rewrite.operators import (
    UPSAMPLE,
    channel_slice,
    is_channel_cat,
    is_dense,
    is_depthwise,
    is_pointwise,
    tied_inputs,
)


@dataclass(frozen=True)
class Part:
    """Channels ``start`` to ``stop`` of a map, as a map of its own.

    It has ``width`` channels, of which the last are idle.
    """

    node: Node
    start: int
    stop: int
    width: int

    @property
    def channels(self) -> int:
        return self.stop - self.start


def never(node: Node) -> str | None:
    """Every concatenation may go."""
    del node
    return None


def in_parts(module: GraphModule, block: int = 1, keep: Keep = never) -> tuple[GraphModule, PassReport]:
    """Rewrite a plain graph (:mod:`ghostyolo.export.rewrite.plain`).

    Args:
        block: channels of parts are padded to a multiple of it where only convolutions would see that; 1: never.
        keep: which concatenations stay.
    """
    return _Rewriter(module, block, keep).run()


class _Rewriter:
    def __init__(self, module: GraphModule, block: int, keep: Keep) -> None:
        self.module, self.block = module, block
        self.layout: Layout = lay_out(module, keep)
        self.graph = Graph()
        self.writer = Writer(module, self.graph)
        self.parts: dict[Node, list[Part]] = {}
        self.wholes: dict[Node, Node] = {}
        self.report = PassReport("parts")
        self.padded: set[int] = set()

    def run(self) -> tuple[GraphModule, PassReport]:
        for node in self.module.graph.nodes:
            self._rewrite(node)
        for cat, why in self.layout.kept.items():
            if is_channel_cat(cat):
                self.report.left(why, cat)
        return with_graph(self.module, self.graph), self.report

    def _rewrite(self, node: Node) -> None:
        layout = self.layout
        if node in layout.kept:
            self.wholes[node] = self.writer.copy(node, self._whole)
        elif is_channel_cat(node):
            self._cat(node)
        elif (span := channel_slice(node)) is not None and self._divides(node, span):
            self._slice(node, span)
        elif is_dense(node):
            self._dense(node)
        elif is_depthwise(node):
            self._depthwise(node)
        elif (tied_inputs(node) and node in layout.cuts) or (node in layout.paddable and tied_inputs(node)):
            self._tied(node)
        else:
            self.wholes[node] = self.writer.copy(node, self._whole)

    # What a node has become.

    def _get(self, node: Node) -> list[Part]:
        if node in self.parts:
            return self.parts[node]
        channels = channels_of(node)
        return [Part(self.wholes[node], 0, channels, channels)]

    def _whole(self, node: Node) -> Node:
        """All channels in one map, and nothing else."""
        if node not in self.wholes:
            pieces = [self._trimmed(part) for part in self.parts[node]]
            if len(pieces) > 1:
                self.wholes[node] = self.writer.call(ATEN.cat.default, pieces, 1, like=node)
                self.report.left("some reader needs the whole map", node)
            else:
                self.wholes[node] = pieces[0]
        return self.wholes[node]

    def _trimmed(self, part: Part) -> Node:
        if part.width == part.channels:
            return part.node
        return self.writer.call(ATEN.slice.Tensor, part.node, 1, 0, part.channels, like=part.node)

    def _width(self, node: Node, channels: int) -> int:
        if node not in self.layout.paddable:
            return channels
        width = -(-channels // self.block) * self.block
        if width > channels:
            self.report.did("part padded", "parts padded")
        return width

    # Operators.

    def _cat(self, node: Node) -> None:
        found, offset = [], 0
        for source in node.args[0]:  # type: ignore[union-attr]
            for part in self._get(source):  # type: ignore[arg-type]
                found.append(Part(part.node, part.start + offset, part.stop + offset, part.width))
            offset += channels_of(source)  # type: ignore[arg-type]
        self.parts[node] = found
        self.report.did("concatenation removed", "concatenations removed")

    def _divides(self, node: Node, span: tuple[int, int]) -> bool:
        source: Node = node.args[0]  # type: ignore[assignment]
        edges = {0, channels_of(source), *self.layout.cuts.get(source, ())}
        return {*span} <= edges

    def _slice(self, node: Node, span: tuple[int, int]) -> None:
        first, stop = span
        self.parts[node] = [
            Part(part.node, part.start - first, part.stop - first, part.width)
            for part in self._get(node.args[0])  # type: ignore[arg-type]
            if first <= part.start < stop
        ]
        self.report.did("slice removed", "slices removed")

    def _dense(self, node: Node) -> None:
        source: Node = node.args[0]  # type: ignore[assignment]
        inputs, spans = self._get(source), self.layout.spans(node)
        widths = [self._width(node, stop - start) for start, stop in spans]
        plain = len(inputs) == 1 and inputs[0].width == inputs[0].channels
        if plain and len(spans) == 1 and widths[0] == channels_of(node):
            self.wholes[node] = self.writer.copy(node, self._whole)
            return
        if len(inputs) > 1 or len(spans) > 1:
            self.report.did("convolution split", "convolutions split")
        found = []
        for number, ((start, stop), width) in enumerate(zip(spans, widths, strict=True)):
            total: Node | None = None
            ordered = sorted(enumerate(inputs), key=lambda one: self._low(node, one[1], width) is None)
            for place, (index, part) in enumerate(ordered):
                term = self._term(node, part, (start, stop), width, f"{number}_{index}", bias=place == 0)
                total = term if total is None else self.writer.call(ATEN.add.Tensor, total, term, like=node)
            assert total is not None
            found.append(Part(total, start, stop, width))
        self.parts[node] = found

    def _term(self, conv: Node, part: Part, span: tuple[int, int], width: int, name: str, bias: bool) -> Node:
        """The share of one part of the input in one part of the output."""
        kernel, own = weights_of(self.module, conv)
        kernel = padded(padded(kernel[span[0] : span[1], part.start : part.stop], 0, width), 1, part.width)
        low = self._low(conv, part, width)
        offset = padded(own[span[0] : span[1]], 0, width) if bias and own is not None else None
        source = part.node if low is None else low.args[0]
        made = self.writer.conv(conv, source, kernel, offset, f"part_{name}", 1)
        if low is None:
            return made
        self.report.did("1x1 moved ahead of an upsampling", "1x1 moved ahead of upsamplings")
        return self.writer.call(low.target, made, *low.args[1:], like=conv)  # type: ignore[arg-type]

    def _low(self, conv: Node, part: Part, width: int) -> Node | None:
        """The upsampling that made a part, where a 1x1 ahead of it moves less."""
        made = part.node
        if is_pointwise(conv) and made.op == "call_function" and made.target in UPSAMPLE and width <= 2 * part.width:
            return made
        return None

    def _depthwise(self, node: Node) -> None:
        inputs = self._get(node.args[0])  # type: ignore[arg-type]
        if len(inputs) == 1 and inputs[0].width == channels_of(node):
            self.wholes[node] = self.writer.copy(node, self._whole)
            return
        kernel, bias = weights_of(self.module, node)
        found = []
        for index, part in enumerate(inputs):
            share = padded(kernel[part.start : part.stop], 0, part.width)
            offset = None if bias is None else padded(bias[part.start : part.stop], 0, part.width)
            made = self.writer.conv(node, part.node, share, offset, f"part_{index}", part.width)
            found.append(Part(made, part.start, part.stop, part.width))
        self.parts[node] = found

    def _tied(self, node: Node) -> None:
        tied = tied_inputs(node)
        model = self._get(tied[0])
        found = []
        for index, part in enumerate(model):
            made = self._once(node, {source: self._get(source)[index].node for source in tied}, part)
            found.append(Part(made, part.start, part.stop, part.width))
        self.parts[node] = found

    def _once(self, node: Node, given: dict[Node, Node], part: Part) -> Node:
        """The operator for one part of its maps."""
        arguments: Any = map_arg(node.args, lambda one: given.get(one) or self._share(one, part, node))
        named: Any = map_arg(node.kwargs, self._whole)
        return self.writer.call(node.target, *arguments, like=node, **named)  # type: ignore[arg-type]

    def _share(self, node: Node, part: Part, reader: Node) -> Node:
        """A part of a constant that has one number a channel; anything else as it is."""
        values = constant_of(self.module, node)
        if values is None or values.ndim < 3 or values.shape[-3] != channels_of(reader):
            return self._whole(node)
        share = padded(values.narrow(-3, part.start, part.channels), values.ndim - 3, part.width)
        return self.writer.constant(f"{node.target}_{part.start}", share)


def padded(values: Tensor, axis: int, size: int) -> Tensor:
    """With zeros behind, along one axis."""
    missing = size - values.shape[axis]
    if not missing:
        return values
    return F.pad(values, [0, 0] * (values.ndim - 1 - axis) + [0, missing])

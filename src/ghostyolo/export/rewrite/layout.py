"""Decides where each map of a graph is cut into parts.

It also decides which maps may carry idle channels. Cuts come from concatenations and slices along channels, and spread
over every operator that keeps channels apart, in both directions, until they meet convolutions, which take and give any
parts. A cut that reaches a map which some other operator makes (one that mixes channels) cannot be had for nothing: the
concatenation it came from then stays.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch.fx import GraphModule, Node

from ghostyolo.export.rewrite.graph import channels_of, is_map
from ghostyolo.export.rewrite.operators import channel_slice, is_channel_cat, is_dense, tied_inputs


@dataclass
class Layout:
    """Parts of every map.

    Attributes:
        cuts: first channel of every part but the first, of maps that are cut.
        kept: concatenations and slices that stay as they are, with the reason.
        paddable: maps whose parts may be given idle channels.
    """

    cuts: dict[Node, tuple[int, ...]] = field(default_factory=dict)
    kept: dict[Node, str] = field(default_factory=dict)
    paddable: set[Node] = field(default_factory=set)

    def spans(self, node: Node) -> list[tuple[int, int]]:
        """First and last-but-one channel of each part."""
        edges = (0, *self.cuts.get(node, ()), channels_of(node))
        return list(itertools.pairwise(edges))


Keep = Callable[[Node], str | None]
"""Why a concatenation should stay; None: it need not."""


def lay_out(module: GraphModule, keep: Keep) -> Layout:
    """Cuts of all maps, and what has to stay."""
    layout = Layout()
    nodes = [node for node in module.graph.nodes if is_map(node)]
    for node in nodes:
        why = keep(node) if is_channel_cat(node) else None
        if why:
            layout.kept[node] = why
    while True:
        cuts = _spread(nodes, layout)
        refused = _refused(nodes, cuts, layout)
        if not refused:
            break
        layout.kept.update(refused)
    layout.cuts = {node: tuple(sorted(found)) for node, found in cuts.items() if found}
    layout.paddable = _paddable(nodes, layout)
    return layout


def _links(nodes: list[Node], layout: Layout) -> Iterator[tuple[Node, Node, int, int, int]]:
    """(whole, part, first, stop, shift): channel c of ``whole`` in first..stop is channel c - shift of ``part``."""
    for node in nodes:
        for source in tied_inputs(node):
            yield node, source, 0, channels_of(node), 0
        if node in layout.kept:
            continue
        if is_channel_cat(node):
            start = 0
            for part in node.args[0]:  # type: ignore[union-attr]
                stop = start + channels_of(part)  # type: ignore[arg-type]
                yield node, part, start, stop, start  # type: ignore[misc]
                start = stop
        elif (span := channel_slice(node)) is not None:
            yield node.args[0], node, *span, span[0]  # type: ignore[misc]


def _spread(nodes: list[Node], layout: Layout) -> dict[Node, dict[int, set[Node]]]:
    """Cuts with the concatenations and slices that each came from."""
    links = list(_links(nodes, layout))
    cuts: dict[Node, dict[int, set[Node]]] = {node: {} for node in nodes}
    for whole, part, start, stop, _ in links:
        seed = part if channel_slice(part) is not None and part.args[0] is whole else whole
        for edge in (start, stop):
            if 0 < edge < channels_of(whole):
                cuts[whole].setdefault(edge, set()).add(seed)
    changed = True
    while changed:
        changed = False
        for direction in (links, reversed(links)):
            for whole, part, start, stop, shift in direction:
                inner = {edge - shift: seeds for edge, seeds in cuts[whole].items() if start < edge < stop}
                outer = {edge + shift: seeds for edge, seeds in cuts[part].items()}
                changed |= _add(cuts[part], inner) | _add(cuts[whole], outer)
    return cuts


def _add(cuts: dict[int, set[Node]], more: dict[int, set[Node]]) -> bool:
    before = sum(len(seeds) for seeds in cuts.values())
    for edge, seeds in more.items():
        cuts.setdefault(edge, set()).update(seeds)
    return sum(len(seeds) for seeds in cuts.values()) > before


def _produced_whole(node: Node, layout: Layout) -> bool:
    """Whether an operator that is not understood makes this map, so that it comes in one part."""
    if node in layout.kept:
        return True
    return not (is_dense(node) or tied_inputs(node) or is_channel_cat(node) or channel_slice(node) is not None)


def _refused(nodes: list[Node], cuts: dict[Node, dict[int, set[Node]]], layout: Layout) -> dict[Node, str]:
    refused = {}
    for node in nodes:
        if cuts[node] and _produced_whole(node, layout):
            for seeds in cuts[node].values():
                refused.update(dict.fromkeys(seeds, "what it meets comes in one piece"))
    return refused


def _paddable(nodes: list[Node], layout: Layout) -> set[Node]:
    """Maps that only convolutions make and read, alone or through operators that keep channels apart."""
    group = {node: node for node in nodes}

    def root(node: Node) -> Node:
        while group[node] is not node:
            node = group[node]
        return node

    for whole, part, *_ in _links(nodes, layout):
        group[root(whole)] = root(part)
    spoilt = set()
    for node in nodes:
        readers = [one for one in node.users if not (is_dense(one) or _passes(one, node, layout))]
        if readers or _produced_whole(node, layout):
            spoilt.add(root(node))
    return {node for node in nodes if root(node) not in spoilt}


def _passes(reader: Node, node: Node, layout: Layout) -> bool:
    if not is_map(reader):
        return False
    if reader in layout.kept:
        return False
    return node in tied_inputs(reader) or is_channel_cat(reader) or channel_slice(reader) is not None

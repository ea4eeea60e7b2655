"""What each pass did to a graph, in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from torch.fx import Node

from ghostyolo.export.rewrite.graph import layer_of


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

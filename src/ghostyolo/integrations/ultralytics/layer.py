"""One layer of a parsed YAML that holds a module of ours."""

from __future__ import annotations

from typing import Any

from torch import nn

from ghostyolo.integrations.ultralytics.hooks import register
from ghostyolo.nn.reparam import fold


class Layer(nn.Module):
    """A module of ours in a row's place: same input, same output.

    Attributes:
        module: ours; a plain one after :meth:`fold`.
        spread: give a row's several inputs to the module one by one, not as a list.
        i, f, np: what the parser writes on every layer: row, rows it reads, parameters; and a name, ``type``.
    """

    i: int
    f: int | list[int]
    np: int

    def __init__(self, module: nn.Module, spread: bool = False) -> None:
        super().__init__()
        self.module, self.spread = module, spread

    def forward(self, x: Any) -> Any:
        return self.module(*x) if self.spread else self.module(x)

    def fold(self) -> None:
        """Replace the module by its plain form, exact in evaluation and frozen. Folding twice does no harm."""
        self.module = fold(self.module).train(self.training).requires_grad_(False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Weights opened in a new process, such as a worker of multi-GPU training, must fold there too.
        super().__setstate__(state)
        register()

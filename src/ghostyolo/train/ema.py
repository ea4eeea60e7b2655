"""Exponential moving average of a network's weights and buffers: what is validated and saved.

The decay grows as ``decay x (1 - exp(-updates / ramp))``, so that the average forgets the random start.
"""

from __future__ import annotations

import copy
import math
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Ema(Generic[Network]):
    """Averages a network; not a module itself, so no optimiser, DDP or ``state_dict`` sees the average.

    Args:
        model: the network to follow.
        decay: 0 makes the average equal to the network.
        ramp: updates after which the decay has reached about two thirds of its value.
    """

    def __init__(self, model: Network, decay: float = 0.9999, ramp: float = 2000.0) -> None:
        self.model: Network = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.ramp, self.updates = decay, ramp, 0
        self._pairs: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]] | None = None

    def follow(self, model: nn.Module) -> None:
        """Look up the tensors to average; call when the network is on its device and stays there."""
        own, theirs = self.model.state_dict(), model.state_dict()
        parameter = next(model.parameters(), None)
        if parameter is not None:
            self.model.to(parameter.device)
            own = self.model.state_dict()
        floats = [name for name, tensor in own.items() if tensor.is_floating_point()]
        others = [name for name in own if name not in set(floats)]
        self._pairs = (
            [own[name] for name in floats],
            [theirs[name] for name in floats],
            [own[name] for name in others],
            [theirs[name] for name in others],
        )

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the network; after :meth:`follow`."""
        assert self._pairs is not None
        average, current, counters, current_counters = self._pairs
        self.updates += 1
        weight = 1 - self.decay * (1 - math.exp(-self.updates / self.ramp))
        torch._foreach_lerp_(average, current, weight)
        for mine, theirs in zip(counters, current_counters, strict=True):
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs."""
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.updates = int(state["updates"])

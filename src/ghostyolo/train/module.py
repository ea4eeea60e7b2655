"""What detectors and classifiers in training have in common: averaged weights, mean losses, seeds."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from ghostyolo.train.nan_guard import NanGuard

Network = TypeVar("Network", bound=nn.Module)


class Ema(Generic[Network]):
    """The exponential moving average of a network's weights and buffers.

    It is what is validated and saved.

    The decay grows as ``decay x (1 - exp(-updates / ramp))``, so that the average forgets the random start. It is no
    module itself, so no optimiser, DDP or ``state_dict`` sees the average.

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
        """Look up the tensors to average.

        Call it when the network is on its device and stays there.
        """
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


class TrainingModule(LightningModule):
    """A network in training, its moving average, and the sums of its losses.

    Args:
        model: the network.
        loss_parts: names of what the loss consists of.
        steps_per_epoch: batches of one device in an epoch.
        ema_decay, ema_ramp: of the average, see :class:`Ema`.
        channels_last: memory layout of the weights.
        nan_guard: stops the run at a loss that is not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_parts: Sequence[str],
        steps_per_epoch: int,
        *,
        ema_decay: float,
        ema_ramp: float,
        channels_last: bool,
        nan_guard: NanGuard,
    ) -> None:
        super().__init__()
        self.model = model.train()
        self.loss_parts = tuple(loss_parts)
        self.steps_per_epoch, self.nan_guard = steps_per_epoch, nan_guard
        self.channels_last = channels_last
        self.ema: Ema[nn.Module] = Ema(model, ema_decay, ema_ramp)
        self.loss_sums: Tensor = torch.zeros(len(self.loss_parts) + 1)

    def lr_at(self, step: int) -> float:
        """Learning rate at a step of the run."""
        raise NotImplementedError

    def describe(self) -> str:
        """Say in a line how it is trained."""
        return ""

    def on_fit_start(self) -> None:
        if self.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.ema.follow(self.model)

    def on_train_epoch_start(self) -> None:
        self.loss_sums = torch.zeros(len(self.loss_parts) + 1, device=self.device)
        self.model.train()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device, non_blocking=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ema"] = self.ema.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.ema.load_state_dict(checkpoint["ema"])

    def add_losses(self, losses: dict[str, Tensor]) -> None:
        """Enter a batch's parts into the epoch's sums."""
        parts = [losses[part] for part in self.loss_parts]
        self.loss_sums += torch.stack([*parts, torch.ones_like(parts[0])]).detach()

    def mean_losses(self) -> dict[str, float]:
        """Average each loss part over the epoch and all ranks.

        Every rank must call it.
        """
        sums = self.trainer.strategy.reduce(self.loss_sums.clone(), reduce_op="sum").tolist()
        return {part: value / max(sums[-1], 1) for part, value in zip(self.loss_parts, sums[:-1], strict=True)}

    def _plain_optimizer(self) -> torch.optim.Optimizer:
        return self.trainer.optimizers[0]


def seed_device(device: torch.device, seed: int) -> None:
    """Seed what dropout draws from. ``torch.manual_seed`` takes milliseconds and, without CUDA, memory each time."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def mix_seed(*parts: int) -> int:
    """One 63-bit seed of several numbers, such as seed, epoch, rank and batch."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))

"""What a teacher costs: parameters, multiply-accumulates, share of a step."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from torch import nn

from ghostyolo.models.count import count_parameters, try_count_macs
from ghostyolo.train.distil.teacher import DetectionTeacher

STEPS = 6  # the first, which warms up, does not count where there are others


class TeacherShare(Callback):
    """A callback that times the first steps and prints one line.

    Where the first epoch has fewer steps, it times those.

    Args:
        imgsz: side of the training pictures, pixels.
    """

    def __init__(self, console: Console, teacher: DetectionTeacher, imgsz: int) -> None:
        self.console, self.teacher, self.imgsz = console, teacher, imgsz
        self._measured: list[tuple[float, float]] = []
        self._begun = self._before = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.teacher.timed = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.teacher.timed:
            self._begun, self._before = _now(pl_module.device), self.teacher.seconds

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.teacher.timed:
            return
        self._measured.append((_now(pl_module.device) - self._begun, self.teacher.seconds - self._before))
        if len(self._measured) == STEPS:
            self._say()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.teacher.timed and self._measured:
            self._say()

    def _say(self) -> None:
        self.teacher.timed = False
        counted = self._measured[1:] or self._measured
        whole, share = (sum(seconds) for seconds in zip(*counted, strict=True))
        cost = describe_cost(self.teacher.name, self.teacher.net, self.imgsz, self.teacher.net.in_channels)
        line = f"{cost}, {share / whole:.0%} of a step ({len(counted)} measured)"
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def describe_cost(name: str, net: nn.Module, imgsz: int, channels: int) -> str:
    """Say what a teacher costs, in one line.

    Such as ``teacher NAME: 2.45 M parameters, 3,210.5 M MACs a picture``; without MACs where they cannot be counted.

    Args:
        imgsz: side of the pictures that it sees, pixels.
    """
    cost = f"teacher {name}: {count_parameters(net) / 1e6:.2f} M parameters"
    macs = try_count_macs(net, imgsz, channels)
    if macs is None:
        return cost
    figure = f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:,.1f} M"
    return f"{cost}, {figure} MACs a picture of {imgsz} x {imgsz}"


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

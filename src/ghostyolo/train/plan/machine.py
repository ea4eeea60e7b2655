"""What a training has of this machine."""

from __future__ import annotations

import os

import torch

from ghostyolo.benchmark.machine import usable_cores
from ghostyolo.config import StrictModel
from ghostyolo.data.memory import free_memory
from ghostyolo.runtime.engines import parse_device
from ghostyolo.train.recipe import TrainRecipe


class Machine(StrictModel):
    """Where a training runs.

    Attributes:
        cores: that this process may use.
        busy: of them, those that other programs keep busy, by the system's load over the last minute.
        free_gib: memory that can still be taken; None: it is not known.
        gpu: the name of the GPU that is trained on; None: the CPU.
    """

    cores: int
    busy: float
    free_gib: float | None = None
    gpu: str | None = None


def look_at_machine(recipe: TrainRecipe) -> Machine:
    """Describe this machine, and the device that a recipe asks for."""
    free = free_memory()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return Machine(
        cores=usable_cores(),
        busy=round(load, 1),
        free_gib=None if free is None else round(free / 2**30, 2),
        gpu=_gpu_name(recipe.device),
    )


def _gpu_name(device: str) -> str | None:
    if not torch.cuda.is_available():
        return None
    kind, number = ("cuda", 0) if device == "auto" else parse_device(device)
    return torch.cuda.get_device_name(number) if kind == "cuda" and number < torch.cuda.device_count() else None

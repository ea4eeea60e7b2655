"""What a training has of this machine."""

from __future__ import annotations

import torch

from ghostyolo.benchmark.machine import usable_cores
from ghostyolo.config import StrictModel
from ghostyolo.data.memory import free_memory
from ghostyolo.runtime.engines import parse_device
from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.threads import choose_threads


class Machine(StrictModel):
    """Where a training runs.

    Attributes:
        cores: that this process may use.
        threads: that train, with the reason; they change nothing else of the plan.
        free_gib: memory that can still be taken; None: it is not known.
        gpu: the name of the GPU that is trained on; None: the CPU.
    """

    cores: int
    threads: str
    free_gib: float | None = None
    gpu: str | None = None


def look_at_machine(recipe: TrainRecipe) -> Machine:
    """Describe this machine, and the device that a recipe asks for."""
    free = free_memory()
    return Machine(
        cores=usable_cores(),
        threads=str(choose_threads(recipe.threads)),
        free_gib=None if free is None else round(free / 2**30, 2),
        gpu=_gpu_name(recipe.device),
    )


def _gpu_name(device: str) -> str | None:
    if not torch.cuda.is_available():
        return None
    kind, number = ("cuda", 0) if device == "auto" else parse_device(device)
    return torch.cuda.get_device_name(number) if kind == "cuda" and number < torch.cuda.device_count() else None

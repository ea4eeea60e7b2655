"""How many CPU threads train. No torch.

A thread that has to wait for its core holds up all the others at the end of each operation, also where they sleep
meanwhile (:mod:`ghostyolo.openmp`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ghostyolo.benchmark.machine import usable_cores

_COUNT = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Threads:
    """A number of CPU threads.

    Attributes:
        count: of them.
        reason: why so many; empty where they were given.
    """

    count: int
    reason: str = ""

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.count} thread{'s' * (self.count > 1)}{reason}"


def free_cores(cores: int, load: float) -> int:
    """Return the cores that nothing else keeps busy, at least one.

    Args:
        cores: that this process may use.
        load: of the machine, in cores.
    """
    return max(1, cores - round(load))


def choose_threads(given: int | None) -> Threads:
    """Take the cores that nothing else keeps busy.

    Args:
        given: what the user asks for; None: choose.
    """
    if given is not None:
        return Threads(given)
    if os.environ.get(_COUNT, "").isdecimal():
        return Threads(max(1, int(os.environ[_COUNT])), f"by {_COUNT}")
    cores = usable_cores()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    count = free_cores(cores, load)
    busy = f"this machine has {cores} cores, and other programs keep {load:.1f} of them busy"
    return Threads(count, busy if count < cores else f"of {cores} cores")

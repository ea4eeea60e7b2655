"""How many CPU threads train, and how they wait for each other. No torch.

The threads of an operation meet at its end. OpenMP's usual way is to spin there: a thread that is done keeps its core
busy while it waits for one whose core another program has, which so gets it back later still. On two cores beside
another program a step took four times as long on two threads as on one; with threads that sleep while they wait it
took about as long (``benchmarks/studies/waiting_threads.py``).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from ghostyolo.benchmark.machine import usable_cores

_POLICY = "OMP_WAIT_POLICY"
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


def wait_passively() -> bool:
    """Let threads sleep while they wait for each other.

    OpenMP reads this once, when torch is imported; what the user has set stays.

    Returns:
        Whether it takes effect: torch was not imported yet.
    """
    os.environ.setdefault(_POLICY, "passive")
    return "torch" not in sys.modules


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

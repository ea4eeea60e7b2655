"""How the CPU threads of torch wait for each other. No torch.

The threads of an operation meet at its end. OpenMP's usual way is to spin there: a thread that is done keeps its core
busy while it waits for one whose core another program has, which so gets it back later still. Threads that sleep while
they wait cost several times less on a busy machine; on an idle one it was not measured yet
(``benchmarks/studies/waiting_threads.py``).
"""

from __future__ import annotations

import os
import sys

_POLICY = "OMP_WAIT_POLICY"


def wait_passively() -> bool:
    """Let threads sleep while they wait for each other.

    OpenMP reads this once, when torch is imported; what the user has set stays.

    Returns:
        Whether it takes effect: torch was not imported yet.
    """
    os.environ.setdefault(_POLICY, "passive")
    return "torch" not in sys.modules

"""Which of several training processes this one is, before any process group exists. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping

_GLOBAL = ("RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "OMPI_COMM_WORLD_RANK")
_PARTS = ("NODE_RANK", "GROUP_RANK", "LOCAL_RANK")


def is_main_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is rank 0, the one that validates, prints and writes, by what launchers set."""
    for name in _GLOBAL:
        if name in environment:
            return environment[name] == "0"
    return all(environment.get(name, "0") == "0" for name in _PARTS)

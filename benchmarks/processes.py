"""Run a command as a process of its own and see how much memory it took at most."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_measured(command: list[str], log: Path, threads: int) -> float:
    """Run a process to its end; return its peak resident memory in MB, torch and all included.

    Args:
        log: receives all that it prints.
        threads: OMP_NUM_THREADS of the process.

    Raises:
        SystemExit: it failed; the end of its log is shown.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command[:6])} ... failed:\n{log.read_text(errors='replace')[-2000:]}")
    kibibytes = usage.ru_maxrss if sys.platform == "linux" else usage.ru_maxrss / 1024  # macOS counts bytes
    return kibibytes * 1024 / 1e6

"""Run commands as processes of their own: several at once, or one with a look at how much memory it took at most."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """``work`` of each item in their order, ``jobs`` of them at the same time; it starts processes and waits for them.

    At the first failure, or Ctrl-C, no further item begins; those that run are waited for.
    """
    pool, failed = ThreadPoolExecutor(jobs), Event()

    def unless_failed(item: Item) -> Result:
        if failed.is_set():
            raise CancelledError
        try:
            return work(item)
        except BaseException:
            failed.set()
            raise

    try:
        yield from pool.map(unless_failed, items)
    finally:
        pool.shutdown(cancel_futures=True)


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

"""The process of a training: its rank, kept memory, the end at SIGTERM."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

SIGTERM_STATUS = 128 + int(signal.SIGTERM)

_GLOBAL = ("RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "OMPI_COMM_WORLD_RANK")
_PARTS = ("NODE_RANK", "GROUP_RANK", "LOCAL_RANK")

# Parameter numbers of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1
_GROW_BY = 64 * 2**20


def is_main_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether this process is rank 0, by what launchers set.

    That one validates, prints and writes.
    """
    for name in _GLOBAL:
        if name in environment:
            return environment[name] == "0"
    return all(environment.get(name, "0") == "0" for name in _PARTS)


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks for this process.

    Other allocators and systems are left as they are.

    glibc returns large blocks to the system as soon as they are freed. A training step on the CPU frees and allocates
    the same activations again and again, and the kernel has to map and clear each page anew: 89,000 page faults a step
    and a third of its time with yolov13n-ghostnetv3 at 320 px, batch 16; 1,300 with memory kept.
    ``benchmarks/studies/allocator.py`` counts them.

    Returns:
        Whether all settings took effect.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _GROW_BY))
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])


class StopAtSigterm(Callback):
    """Stops all processes of a run at SIGTERM, with status 143, leaving files whole.

    Lightning waits for the end of the batch and tells the other ranks by a collective call inside its signal handler,
    where it can meet another such call and wait for ever. It puts the handlers of before back after training.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not _in_main_thread():
            return

        def stop(signum: int, frame: Any) -> None:
            # A second one must not interrupt the cleaning up after the first.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            launcher = trainer.strategy.launcher
            if launcher is not None:
                launcher.kill(signum)
            raise SystemExit(SIGTERM_STATUS)

        signal.signal(signal.SIGTERM, stop)


@contextmanager
def keep_interrupt_handler() -> Iterator[None]:
    """Put the handler of Ctrl-C back.

    Lightning ignores Ctrl-C from the first one on, for good.
    """
    previous = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if _in_main_thread() and previous is not None:
            signal.signal(signal.SIGINT, previous)


def _in_main_thread() -> bool:
    """Only there may handlers be set."""
    return threading.current_thread() is threading.main_thread()

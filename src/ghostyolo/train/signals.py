"""Stop at once at SIGTERM, with all processes of the run, leaving files whole.

Lightning waits for the end of the batch and tells the other ranks by a collective call inside its signal handler, where
it can meet another such call and wait for ever.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

SIGTERM_STATUS = 128 + int(signal.SIGTERM)


class StopAtSigterm(Callback):
    """Exits with status 143 at SIGTERM while training; Lightning puts the handlers of before back afterwards."""

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
    """Put the handler of Ctrl-C back: Lightning ignores Ctrl-C from the first one on, for good."""
    previous = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if _in_main_thread() and previous is not None:
            signal.signal(signal.SIGINT, previous)


def _in_main_thread() -> bool:
    """Only there may handlers be set."""
    return threading.current_thread() is threading.main_thread()

"""A short queue and a thread that empties it, which all outputs have."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import av

from ghostyolo.errors import GhostYoloError
from ghostyolo.live.prediction import LivePrediction

_CLOSING_SECONDS = 10.0


class Output(threading.Thread):
    """A consumer of results that never holds up the network.

    A subclass says what is done in :meth:`write` and :meth:`finish`. Where it is slower than the network, the oldest
    results of its queue are dropped and counted; with ``lossless`` the network waits for it instead.

    Attributes:
        label: what it is called in lines for the user.
        queue: results that may wait; more where each of them counts.
        fault: why it ended early, None if it did not.
        dropped: results that it was too slow for.
        written: results that it has done.
    """

    label = "output"
    queue = 2

    def __init__(self) -> None:
        super().__init__(name=self.label, daemon=True)
        self.fault: str | None = None
        self.dropped = self.written = 0
        self._queue: deque[LivePrediction] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._say: Callable[[str], None] = lambda line: None

    def begin(self, lossless: bool, say: Callable[[str], None], stop: threading.Event) -> None:
        """Start the thread.

        Args:
            lossless: the network waits for this output.
            say: takes a line for the user.
            stop: ends the waiting.
        """
        self._lossless, self._say, self._stopped = lossless, say, stop
        self.start()

    def offer(self, prediction: LivePrediction) -> None:
        """Hand over a result; it is written later."""
        with self._changed:
            while (
                self._lossless and len(self._queue) >= self.queue and self.fault is None and not self._stopped.is_set()
            ):
                self._changed.wait(0.1)
            if self.fault is not None:
                return
            if len(self._queue) >= self.queue:
                self._queue.popleft()
                self.dropped += 1
            self._queue.append(prediction)
            self._changed.notify_all()

    def end(self) -> None:
        """Write what is in the queue, then close.

        A consumer that hangs is left behind.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.join(_CLOSING_SECONDS)

    def run(self) -> None:
        """Write results until :meth:`end`."""
        try:
            while (prediction := self._next()) is not None:
                self.write(prediction)
                self.written += 1
        except (GhostYoloError, OSError, av.error.FFmpegError) as error:
            self._fail(str(error) if isinstance(error, GhostYoloError) else f"{self.label}: {_reason(error)}")
        except Exception as error:  # a callback may raise anything
            self._fail(f"{self.label}: {type(error).__name__}: {error}")
        finally:
            try:
                self.finish()
            except (GhostYoloError, OSError, av.error.FFmpegError) as error:
                self._fail(f"{self.label}: {_reason(error)}")

    def write(self, prediction: LivePrediction) -> None:
        """Do what this output does with a result."""
        raise NotImplementedError

    def finish(self) -> None:
        """Close files; called once, also after a failure."""

    def _next(self) -> LivePrediction | None:
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait(0.2)
            prediction = self._queue.popleft() if self._queue else None
            self._changed.notify_all()
            return prediction

    def _fail(self, fault: str) -> None:
        if self.fault is None:
            self.fault = fault
            self._say(f"{fault}; {self.written} frames were written, the watch goes on without it")
        with self._changed:
            self._queue.clear()
            self._changed.notify_all()


class Callback(Output):
    """Calls a function with each result."""

    label = "callback"

    def __init__(self, function: Callable[[LivePrediction], object]) -> None:
        super().__init__()
        self._function = function

    def write(self, prediction: LivePrediction) -> None:
        """Call it."""
        self._function(prediction)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)

"""Threads that read sources, and the board where the network finds their newest frames."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

from ghostyolo.errors import GhostYoloError
from ghostyolo.live.streams import Grabbed, Stream, StreamLost

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
_QUEUE = 4  # frames of a source of which none may be lost


class Board:
    """The newest frame of each source, or a short queue where every frame counts.

    Args:
        streams: the sources, in order.
        stop: ends the waiting of both sides.
    """

    def __init__(self, streams: Sequence[Stream], stop: threading.Event) -> None:
        self._streams, self._stop = streams, stop
        self._frames: list[deque[Grabbed]] = [deque() for _ in streams]
        self._open = [True] * len(streams)
        self._changed = threading.Condition()
        self._turn = 0

    def put(self, index: int, grabbed: Grabbed) -> None:
        """Leave a frame.

        An older one that nobody took is dropped, or waited for where every frame counts.
        """
        stream, frames = self._streams[index], self._frames[index]
        with self._changed:
            if stream.lossless:
                while len(frames) >= _QUEUE and not self._stop.is_set():
                    self._changed.wait(0.1)
            elif frames:
                frames.clear()
                stream.figures.dropped += 1
            frames.append(grabbed)
            self._changed.notify_all()

    def close(self, index: int) -> None:
        """Say that a source gives no more."""
        with self._changed:
            self._open[index] = False
            self._changed.notify_all()

    def __iter__(self) -> Iterator[tuple[int, Grabbed]]:
        """Take frames, from each source in turn, until all are closed or the watch stops."""
        while (taken := self._take()) is not None:
            yield taken

    def _take(self) -> tuple[int, Grabbed] | None:
        count = len(self._frames)
        with self._changed:
            while not self._stop.is_set():
                for step in range(count):
                    index = (self._turn + step) % count
                    if self._frames[index]:
                        self._turn = index + 1
                        grabbed = self._frames[index].popleft()
                        self._changed.notify_all()
                        return index, grabbed
                if not any(self._open):
                    return None
                self._changed.wait(0.1)
        return None


class Reader(threading.Thread):
    """Reads one source, and comes back to it when it is lost.

    Attributes:
        fault: why the source was given up, None if it was not.
    """

    def __init__(self, index: int, stream: Stream, board: Board) -> None:
        super().__init__(name=f"read {stream.name}", daemon=True)
        self.fault: str | None = None
        self._index, self._stream, self._board = index, stream, board

    def run(self) -> None:
        """Read until the source ends, is given up, or the watch stops."""
        stream = self._stream
        try:
            self._read()
        except GhostYoloError as error:
            self._give_up(str(error))
        except Exception as error:  # a fault of ours, or of a library, must not end the other sources in silence
            self._give_up(f"{stream.name}: {type(error).__name__}: {error}")
        finally:
            if stream.figures.state != "given up":
                stream.figures.state = "ended"
            self._board.close(self._index)

    def _read(self) -> None:
        stream, figures = self._stream, self._stream.figures
        tries, lost_at = 0, time.monotonic()
        while not stream.stop.is_set():
            opened = False
            try:
                for grabbed in stream.frames():
                    if not opened:
                        opened = True
                        if figures.state == "lost":
                            figures.reconnects += figures.read > 1
                            away = time.monotonic() - lost_at
                            stream.say(f"{stream.name}: there after {away:.1f} s and {tries} tries")
                        figures.state, tries = "open", 0
                    self._board.put(self._index, grabbed)
                return
            except StreamLost as error:
                tries += 1
                if opened:
                    lost_at, tries = time.monotonic(), 1
                if stream.settings.retries is not None and tries > stream.settings.retries:
                    self._give_up(f"{stream.name}: {error}; given up after {stream.settings.retries} tries")
                    return
                if figures.state != "lost":  # the tries that follow say nothing until one succeeds
                    stream.say(f"{stream.name}: lost, {error}; trying again")
                figures.state = "lost"
            # A short pause first: most breaks are short. The pauses of tries that fail grow.
            stream.stop.wait(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (tries - 1)))

    def _give_up(self, fault: str) -> None:
        self.fault = fault
        self._stream.figures.state = "given up"
        self._stream.say(fault)

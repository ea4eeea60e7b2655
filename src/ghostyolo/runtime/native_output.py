"""Catch what C++ libraries print: they go past ``sys.stdout`` and would end up among a command's results."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator


class Captured:
    """What was printed.

    Attributes:
        lines: not empty, in order, standard output and standard error together; complete when the block has ended.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []


@contextlib.contextmanager
def captured_output() -> Iterator[Captured]:
    """Send the process's standard output and standard error into the result while the block runs.

    For the few calls that open a library or a file: it holds for all threads.
    """
    captured = Captured()
    _flush()
    with tempfile.TemporaryFile() as sink:
        saved: list[tuple[int, int]] = []
        for descriptor in (1, 2):
            try:
                saved.append((descriptor, os.dup(descriptor)))
            except OSError:  # closed, as of a service: nothing to protect
                continue
            os.dup2(sink.fileno(), descriptor)
        try:
            yield captured
        finally:
            _flush()
            for descriptor, copy in saved:
                os.dup2(copy, descriptor)
                os.close(copy)
            sink.seek(0)
            text = sink.read().decode("utf-8", "replace")
            captured.lines.extend(line.strip() for line in text.splitlines() if line.strip())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # C's own buffers are written out at exit otherwise, after the block. Windows has no handle for "this process".
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).fflush(None)

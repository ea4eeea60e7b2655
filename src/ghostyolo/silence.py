"""Keep what other libraries print, log and warn off the console.

Libraries in C++ write to the file descriptors 1 and 2 behind Python's back, so those are turned away too.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

_CONSOLE = (1, 2)


@contextlib.contextmanager
def silence() -> Iterator[list[str]]:
    """Let nothing inside reach the console, but exceptions.

    It holds for the whole process, so keep it short.

    Standard output and standard error may be closed or absent, as in a service.

    Yields:
        The lines that were printed, not empty, in order; filled when the block has ended.
    """
    lines: list[str] = []
    disabled = logging.root.manager.disable
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", buffering=1) as sink:
        _flush()
        kept = [(number, copy) for number in _CONSOLE if (copy := _turned_to(sink.fileno(), number)) is not None]
        logging.disable(max(disabled, logging.WARNING))
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
                warnings.simplefilter("ignore")
                yield lines
        finally:
            logging.disable(disabled)
            sink.flush()
            _flush()
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)
            sink.seek(0)
            lines += [line.strip() for line in sink.read().splitlines() if line.strip()]


def _turned_to(target: int, number: int) -> int | None:
    """Send a descriptor's output to another; return a copy of what it was, None where it is closed."""
    try:
        copy = os.dup(number)
    except OSError:
        return None
    os.dup2(target, number)
    return copy


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # absent, closed, or a broken pipe
            stream.flush()
    # C's own buffers are written out at exit otherwise, after the block. Windows has no handle for "this process".
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).fflush(None)

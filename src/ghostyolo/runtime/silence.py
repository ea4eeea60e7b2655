"""Keep the chatter of other libraries off the console: what they print, log and warn while they load or convert.

Libraries in C++ write to the file descriptors 1 and 2 behind Python's back, so those are turned away for the while.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing that is written inside reaches the console; exceptions do. For the whole process, so keep it short."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        with tempfile.TemporaryFile("w+") as sink, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number in kept:
                os.dup2(sink.fileno(), number)
            with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
                yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)

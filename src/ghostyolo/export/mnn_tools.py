"""MNN's own tools, called without what MNN wraps around them.

Its commands ``mnnconvert`` and ``mnnquant`` (``MNN.tools``) run pip to install a logging package and send a report of
each conversion to the maker. The extension module ``_tools`` beneath them does neither. It prints and may end the
process, so it has one of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
_QUANTISE = "import sys, _tools; _tools.mnnquant(*sys.argv[1:])"


def convert(*arguments: str, folder: Path) -> list[str]:
    """Run the converter in ``folder``; return the lines it printed. It has no exit status: look for its file."""
    return _run(_CONVERT, arguments, folder)


def quantise(source: str, target: str, config: str, folder: Path) -> list[str]:
    """Run the quantiser on names inside ``folder``; return the lines it printed. It has no exit status either."""
    return _run(_QUANTISE, (source, target, config), folder)


def _run(code: str, arguments: tuple[str, ...], folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]

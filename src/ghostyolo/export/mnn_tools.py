"""MNN's converter, called without what MNN wraps around it.

Its command ``mnnconvert`` (``MNN.tools``) runs pip to install a logging package and sends a report of each conversion
to the maker. The extension module ``_tools`` beneath it does neither. It prints and may end the process, so it has one
of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"


def convert(*arguments: str, folder: Path) -> list[str]:
    """Run the converter in ``folder``; return the lines it printed. It has no exit status: look for its file."""
    done = subprocess.run(
        [sys.executable, "-c", _CONVERT, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]

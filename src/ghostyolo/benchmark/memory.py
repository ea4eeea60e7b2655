"""How much memory this process holds, and held at most. Megabytes (1e6 bytes) of resident memory."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"


class PeakMemory:
    """Memory above what the process held when this was made.

    Linux tells it exactly. On macOS the peak cannot be reset, so that what came before hides a smaller one; elsewhere
    it is not known.
    """

    def __init__(self) -> None:
        with contextlib.suppress(OSError):  # not Linux, or not allowed: the peak since the process began counts
            _CLEAR.write_text(_FORGET_PEAK)
        self._before = _status_mb("VmRSS")
        if self._before is None:
            self._before = _peak_mb()

    def megabytes(self) -> float | None:
        """The most since then; None where the system does not tell."""
        peak = _peak_mb()
        return None if peak is None or self._before is None else max(0.0, peak - self._before)


def _peak_mb() -> float | None:
    # Not ru_maxrss on Linux: a child inherits its parent's there.
    linux = _status_mb("VmHWM")
    if linux is not None:
        return linux
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def _status_mb(key: str) -> float | None:
    try:
        match = re.search(rf"^{key}:\s*(\d+) kB$", _STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 / 1e6 if match else None

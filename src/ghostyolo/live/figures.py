"""What a watch measures of itself: rates, ages, losses, memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ghostyolo.live.streams import Stream

# Milliseconds at the bins' ends, 2 % apart: percentiles of any number of values in memory of one size.
_EDGES = np.geomspace(0.1, 1e7, 931)


class Histogram:
    """Milliseconds of any number of frames, to about 2 %."""

    def __init__(self) -> None:
        self._counts = np.zeros(len(_EDGES) + 1, np.int64)

    def add(self, milliseconds: float) -> None:
        """Count one value."""
        self._counts[np.searchsorted(_EDGES, milliseconds)] += 1

    def percentile(self, share: float) -> float | None:
        """Return what this share of all values, 0 to 1, does not exceed.

        It is None without values.
        """
        total = int(self._counts.sum())
        if total == 0:
            return None
        bin = int(np.searchsorted(np.cumsum(self._counts), share * total))
        return float(_EDGES[min(bin, len(_EDGES) - 1)])


class Figures:
    """The figures of a watch, while it runs and at its end.

    Args:
        streams: the sources.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = streams
        self._ages, self._times = Histogram(), Histogram()
        self._start = time.monotonic()
        self._end: float | None = None
        self._since = (self._start, 0, 0)  # time, read, inferred at the last line
        self._lock = threading.Lock()

    def add(self, age_ms: float | None, milliseconds: float) -> None:
        """Count a frame that was looked at."""
        with self._lock:
            if age_ms is not None:
                self._ages.add(age_ms)
            self._times.add(milliseconds)

    def end(self) -> None:
        """Note that the watch ended now."""
        self._end = time.monotonic()

    def to_json(self) -> dict[str, Any]:
        """All of them by name; times in milliseconds, rates a second, memory in MB."""
        seconds = max(1e-9, (self._end or time.monotonic()) - self._start)
        figures = [stream.figures for stream in self._streams]
        with self._lock:
            ages = [self._ages.percentile(share) for share in (0.5, 0.95)]
            network = self._times.percentile(0.5)
        return {
            "seconds": round(seconds, 2),
            "read": sum(one.read for one in figures),
            "dropped": sum(one.dropped for one in figures),
            "damaged": sum(one.damaged for one in figures),
            "inferred": sum(one.inferred for one in figures),
            "read_a_second": round(sum(one.read for one in figures) / seconds, 2),
            "inferred_a_second": round(sum(one.inferred for one in figures) / seconds, 2),
            "age_p50_ms": ages[0] and round(ages[0], 1),
            "age_p95_ms": ages[1] and round(ages[1], 1),
            "network_p50_ms": network and round(network, 1),
            "reconnects": sum(one.reconnects for one in figures),
            "memory_mb": memory_mb(),
            "sources": [{"name": stream.name, **vars(stream.figures)} for stream in self._streams],
        }

    def line(self) -> str:
        """One line of what happened since the last."""
        now, before = time.monotonic(), self._since
        values = self.to_json()
        self._since = (now, values["read"], values["inferred"])
        seconds = max(1e-9, now - before[0])
        rates = [(value - old) / seconds for value, old in zip(self._since[1:], before[1:], strict=True)]
        up = sum(stream.figures.state == "open" for stream in self._streams)
        return (
            f"{up} of {len(self._streams)} sources open, read {rates[0]:.1f}/s, looked at {rates[1]:.1f}/s, "
            f"{_rest(values)}"
        )

    def summary(self) -> str:
        """One line of the whole watch."""
        values = self.to_json()
        return (
            f"{values['seconds']:.0f} s: {values['read']} frames read, {values['inferred']} looked at "
            f"({values['inferred_a_second']:.1f}/s), {values['dropped']} dropped, {_rest(values)}"
        )


def memory_mb() -> float | None:
    """Return what this process holds in memory, in 10^6 bytes.

    It is None where the system does not tell.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    import resource

    return round(pages * resource.getpagesize() / 1e6, 1)


def _rest(values: dict[str, Any]) -> str:
    parts = []
    if values["age_p50_ms"] is not None:
        parts.append(f"age p50 {values['age_p50_ms']:.0f} ms, p95 {values['age_p95_ms']:.0f} ms")
    if values["damaged"]:
        parts.append(f"{values['damaged']} damaged")
    parts.append(f"reconnects {values['reconnects']}")
    if values["memory_mb"] is not None:
        parts.append(f"{values['memory_mb']:.0f} MB")
    return ", ".join(parts)

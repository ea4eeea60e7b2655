"""Milliseconds of engines side by side on this machine: in turns, so that all meet the same machine; medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ghostyolo.runtime.engines import Engine

WARMUP, CALLS = 3, 30


def compare_latency(engines: Sequence[Engine], images: npt.NDArray[np.float32]) -> list[float]:
    """Median milliseconds of one call of each engine on (B, C, H, W)."""
    times: list[list[float]] = [[] for _ in engines]
    for number in range(WARMUP + CALLS):
        for engine, own in zip(engines, times, strict=True):
            start = time.perf_counter()
            engine(images)
            if number >= WARMUP:
                own.append(1000 * (time.perf_counter() - start))
    return [statistics.median(own) for own in times]

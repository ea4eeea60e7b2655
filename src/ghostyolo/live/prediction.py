"""What a watch gives for each frame that it looked at."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.live.counting import Count, Region, draw_regions
from ghostyolo.runtime.prediction import Prediction


@dataclass(frozen=True, repr=False)
class LivePrediction(Prediction):
    """A frame of a source, and what was found on it.

    Attributes:
        source: the source's place among those that were given, from 0.
        captured: seconds since 1970 when the frame came; of a file that is read as fast as it goes: seconds in it.
        regions: what is counted at.
        counted: all counts of this source so far.
        inside: how many objects are in each zone now.
        age_ms: from then until the network was done; None of a file that is read as fast as it goes.
    """

    source: int
    captured: float
    age_ms: float | None
    regions: Sequence[Region] = ()
    counted: tuple[Count, ...] = ()
    inside: Mapping[str, int] = field(default_factory=dict)
    _drawing: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def drawn(self) -> npt.NDArray[np.uint8]:
        """Return the frame with its boxes: (H, W, 3) uint8 RGB.

        It is drawn once, for all that ask.
        """
        with self._lock:
            if "picture" not in self._drawing:
                self._drawing["picture"] = draw_regions(self.plot(), self.regions, self.counted, self.inside)
            return self._drawing["picture"]

    def record(self) -> dict[str, Any]:
        """The entry of a JSON line: as in ``detections.json``, with source, time and age."""
        record = self.to_dict()
        time = self.captured if self.age_ms is None else when(self.captured)
        record = {"source": self.frame.name, "time": time, "frame": record.pop("frame"), **record}
        if self.age_ms is not None:
            record["age_ms"] = round(self.age_ms, 1)
        if self.regions:
            record["inside"] = dict(self.inside)
            record["counts"] = [count.to_dict() for count in self.counted]
        return record


def when(seconds: float) -> str:
    """A time of the clock as ISO 8601, UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")

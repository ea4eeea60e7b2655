"""Reports what quantising cost and brought.

It gives size, AP and latency beside the float file, and the layers left in float.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SUFFIX = ".int8.json"


@dataclass(frozen=True)
class QuantisationReport:
    """INT8 beside fp32 of the same format, engine and machine.

    Attributes:
        format, engine: of both files.
        calibration_images: pictures that ranges were taken from.
        megabytes_float, megabytes: sizes of the files, 10^6 bytes.
        ap_float, ap: AP in 0..1; None where no labelled pictures were given.
        max_drop: points of 100 that AP was allowed to fall.
        ms_float, ms: median of one call on one thread, in turns on this machine.
        canvas: (height, width) of those calls, in pixels.
        layers: convolutions of the network.
        kept: module paths of those that stay in float.
        why: of each of them.
        trials: layers kept and points lost, in the order they were tried.
    """

    format: str
    engine: str
    calibration_images: int
    megabytes_float: float
    megabytes: float
    ap_float: float | None
    ap: float | None
    max_drop: float
    ms_float: float
    ms: float
    canvas: tuple[int, int]
    layers: int
    kept: tuple[str, ...] = ()
    why: dict[str, str] | None = None
    trials: tuple[tuple[int, float], ...] = ()

    @property
    def drop(self) -> float | None:
        """Points of 100 that AP falls by; None where it was not measured."""
        return None if self.ap is None or self.ap_float is None else 100 * (self.ap_float - self.ap)

    @property
    def too_far(self) -> bool:
        """Whether AP falls by more than was allowed."""
        return self.drop is not None and self.drop > self.max_drop

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {
            "size_ratio": self.megabytes / self.megabytes_float,
            "ap_drop_points": self.drop,
            "latency_ratio": self.ms / self.ms_float,
        }

    def lines(self) -> list[str]:
        """For the console."""
        ratio, speed = self.megabytes / self.megabytes_float, self.ms / self.ms_float
        height, width = self.canvas
        lines = [
            f"size {self.megabytes:.2f} MB, {ratio:.3f} of fp32's {self.megabytes_float:.2f} MB",
            f"latency {self.ms:.1f} ms, {speed:.2f} of fp32's {self.ms_float:.1f} ms "
            f"({self.engine}, one thread, {width} x {height} pixels, this machine)",
        ]
        if self.ap is not None and self.ap_float is not None:
            lines.append(
                f"AP {100 * self.ap:.2f}, fp32 {100 * self.ap_float:.2f}: {self._change()} (allowed {self.max_drop:g})"
            )
        else:
            lines.append("AP not measured: give --data")
        kept = ", ".join(self.kept[:6]) + (", ..." if len(self.kept) > 6 else "")
        lines.append(
            f"{len(self.kept)} of {self.layers} convolutions in float by the search" + (f": {kept}" if kept else "")
        )
        return lines

    def _change(self) -> str:
        drop = self.drop or 0.0
        return f"{drop:.2f} points less" if drop >= 0 else f"{-drop:.2f} points more"

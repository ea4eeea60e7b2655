"""The picture of ap_latency.py: AP against latency, with names that cover neither points nor each other."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostyolo.evaluate.plots.style import FAINT, INK, PALETTE, figure_file

OURS, PEERS = PALETTE[0], PALETTE[1]
# Where a name may stand, in points from its marker (right, up): close by first, then further off, where a thin line
# ties it to its marker.
DIRECTIONS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
PLACES = [(7 * right, 7 * up) for right, up in DIRECTIONS]
PLACES += [(far * right, far * up) for far in (18, 30, 44, 60) for right, up in DIRECTIONS if up]
MARKER = 5  # half a marker's side in points, with a margin


@dataclass(frozen=True)
class Point:
    """One detector.

    Attributes:
        name: its label.
        latency: as a multiple of YOLO26-n's.
        AP: in 0..1.
        ours: drawn apart from the peers, and joined by the front.
    """

    name: str
    latency: float
    AP: float
    ours: bool


def pareto_front(points: list[Point]) -> list[Point]:
    """The points that no faster one equals or beats in AP, fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.latency, -one.AP)):
        if not front or point.AP > front[-1].AP:
            front.append(point)
    return front


def draw(points: list[Point], path: Path) -> None:
    """Write the picture.

    Raises:
        SystemExit: there is no point.
    """
    if not points:
        raise SystemExit(f"{path.name} has nothing to show: no detector has both a latency and an AP on BCCD")
    with figure_file(path, 7.2, 4.2, dpi=140) as figure:
        axes = figure.subplots()
        front = pareto_front([point for point in points if point.ours])
        line = [(point.latency, point.AP) for point in front]
        if len(line) > 1:
            axes.plot(*zip(*line, strict=True), color=OURS, alpha=0.45, zorder=1)
        for whose, colour, marker, label in ((True, OURS, "o", "ghostyolo"), (False, PEERS, "s", "released packages")):
            group = [point for point in points if point.ours is whose]
            if group:
                axes.scatter(
                    [point.latency for point in group], [point.AP for point in group],
                    s=42, color=colour, marker=marker, label=label, zorder=2,
                )  # fmt: skip
        _scale(axes, points)
        axes.set_xlabel("latency as a multiple of YOLO26-n's, mean of ONNX Runtime and OpenVINO")
        axes.set_ylabel("AP on BCCD, from scratch")
        axes.grid(True)
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.13), ncols=2, borderaxespad=0)
        figure.draw_without_rendering()  # the layout is settled before places are looked for
        _name(axes, points, line)


def _scale(axes: Any, points: list[Point]) -> None:
    """A logarithmic x axis in plain numbers, with room for the names on all sides."""
    from matplotlib.ticker import NullFormatter

    latencies, scores = [point.latency for point in points], [point.AP for point in points]
    axes.set_xscale("log")
    axes.set_xlim(min(latencies) / 1.5, max(latencies) * 1.7)
    ticks = [tick for tick in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if axes.get_xlim()[0] <= tick]
    ticks = [tick for tick in ticks if tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    room = max(0.25 * (max(scores) - min(scores)), 0.01)
    axes.set_ylim(min(scores) - room, max(scores) + room)


def _name(axes: Any, points: list[Point], line: list[tuple[float, float]]) -> None:
    """Write each name at the first place where it overlaps no marker, name or line and stays inside; else at the one
    that overlaps least."""
    from matplotlib.text import Text

    half = MARKER * axes.figure.dpi / 72  # in pixels
    middles = [(point.latency, point.AP) for point in points]
    taken = [_square(x, y, half) for x, y in axes.transData.transform(middles)]
    if len(line) > 1:
        taken += [_square(x, y, 2) for x, y in _along(axes.transData.transform(line))]
    inside = axes.get_window_extent()
    for point in sorted(points, key=lambda one: one.latency):
        best: tuple[float, Any, Any] | None = None
        for place in PLACES:
            text = _write(axes, point, place)
            text.get_window_extent()  # puts it into its place, but has the thin line in it
            box = Text.get_window_extent(text)
            text.remove()
            covered = sum(_common(box, other) for other in taken) + _area(box) - _common(box, inside)
            if best is None or covered < best[0] - 1:  # a pixel is rounding
                best = (covered, place, box)
        if best is not None:
            _write(axes, point, best[1])
            taken.append(best[2])


def _write(axes: Any, point: Point, place: tuple[int, int]) -> Any:
    """A name at one of the places, tied to its marker by a thin line where it stands further off."""
    right, up = place
    tie = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
    return axes.annotate(
        point.name, (point.latency, point.AP), xytext=place, textcoords="offset points", fontsize=9, color=INK,
        ha="center" if not right else "left" if right > 0 else "right",
        va="center" if not up else "bottom" if up > 0 else "top",
        arrowprops=tie if abs(up) > 7 else None,
    )  # fmt: skip


def _along(corners: Any, step: float = 4) -> list[tuple[float, float]]:
    """Points of a broken line, about ``step`` pixels apart."""
    found: list[tuple[float, float]] = []
    for (x1, y1), (x2, y2) in itertools.pairwise(corners):
        count = max(1, int(math.hypot(x2 - x1, y2 - y1) / step))
        found += [(x1 + (x2 - x1) * part / count, y1 + (y2 - y1) * part / count) for part in range(count + 1)]
    return found


def _square(x: float, y: float, half: float) -> Any:
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _area(box: Any) -> float:
    return float(box.width * box.height)


def _common(one: Any, other: Any) -> float:
    """The area that two boxes share, in square pixels."""
    from matplotlib.transforms import Bbox

    shared = Bbox.intersection(one, other)
    return 0.0 if shared is None else _area(shared)

"""Draw a benchmark: AP against latency where weights were scored, else latency as bars."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ghostyolo.benchmark.rows import Row
from ghostyolo.errors import ConfigError
from ghostyolo.evaluate.plots.style import FAINT, INK, colour, figure_file, shorten

SUFFIXES = (".png", ".svg", ".pdf")
# Where a name may stand, in points from its marker (right, up): close by first, then further off, where a thin line
# ties it to its marker.
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
_PLACES = (
    *((7 * right, 7 * up) for right, up in _DIRECTIONS),
    *((far * right, far * up) for far in (18, 30, 44, 60) for right, up in _DIRECTIONS if up),
)
_MARKER = 5  # half a marker's side in points, with a margin
_STEPS = (("preprocess_ms", "before the network"), ("median_ms", "network"), ("postprocess_ms", "after it"))


def check_picture(path: Path) -> None:
    """Refuse a picture that cannot be drawn, before anything is measured.

    Raises:
        ConfigError: a suffix that is no picture's.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--picture {path}: the name must end in {', '.join(SUFFIXES)}")


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the picture.

    Raises:
        OutputError: it cannot be drawn or written.
    """
    if any(row.AP is not None for row in rows):
        _draw_accuracy([row for row in rows if row.AP is not None], path)
    else:
        _draw_bars(rows, path)


def _draw_accuracy(rows: Sequence[Row], path: Path) -> None:
    engines = list(dict.fromkeys(row.engine for row in rows))
    networks: dict[str, list[Row]] = {}
    for row, name in zip(rows, _names(rows, ("imgsz", "precision")), strict=True):  # colours tell the engine
        networks.setdefault(name, []).append(row)
    with figure_file(path, 8.2, 5.0) as figure:
        axis = figure.subplots()
        for mine in networks.values():
            axis.plot([row.median_ms for row in mine], [row.AP for row in mine], color=FAINT, linewidth=0.8, zorder=1)
        for number, engine in enumerate(engines):
            points = [(row.median_ms, row.AP) for row in rows if row.engine == engine]
            axis.scatter(*zip(*points, strict=True), color=colour(number), s=46, zorder=2, label=engine)
        highest = max(row.AP or 0 for row in rows)
        lowest = min(row.AP or 0 for row in rows)
        span = max(highest - lowest, 0.05)
        axis.set_ylim(max(0.0, lowest - 0.25 * span), min(1.0, highest + 0.25 * span))
        # Room for the names to the right of the slowest.
        axis.set_xlim(0, max(row.median_ms for row in rows) * 1.4)
        axis.grid(True)
        axis.set_xlabel(f"network, median milliseconds{_batch(rows)} (left is faster)")
        axis.set_ylabel("AP (up is better)")
        axis.set_title("AP against latency")
        if len(engines) > 1:
            axis.legend(loc="lower right")
        _conditions(figure, rows)
        figure.draw_without_rendering()  # lays out, so that the sizes of names are known
        lines = {name: [(row.median_ms, row.AP or 0.0) for row in mine] for name, mine in networks.items()}
        names = [(name, *max(line)) for name, line in lines.items()]  # each once, at its slowest point
        write_names(axis, names, [point for line in lines.values() for point in line], list(lines.values()))


def write_names(
    axes: Any,
    names: Sequence[tuple[str, float, float]],
    points: Sequence[tuple[float, float]],
    lines: Sequence[Sequence[tuple[float, float]]] = (),
) -> None:
    """Write each name beside its point, clear of points, lines and other names.

    Where no place is clear, it takes the one that covers least. The figure is drawn already, so that sizes are known.

    Args:
        axes: matplotlib's, its limits set.
        names: each with the (x, y) it belongs to; the first ones choose first.
        points: (x, y) of all markers.
        lines: corners of each line.
    """
    half = _MARKER * axes.figure.dpi / 72  # in pixels
    taken = [_square(x, y, half) for x, y in axes.transData.transform(list(points))]
    for corners in lines:
        if len(corners) > 1:
            taken += [_square(x, y, 2) for x, y in _along(axes.transData.transform(list(corners)))]
    inside = axes.get_window_extent()
    for name, x, y in names:
        best: tuple[float, Any, Any] | None = None
        for place in _PLACES:
            box, text = _write_name(axes, name, x, y, place)
            text.remove()
            covered = sum(_common(box, other) for other in taken) + _area(box) - _common(box, inside)
            if best is None or covered < best[0] - 1:  # a pixel is rounding
                best = (covered, place, box)
        if best is not None:
            _write_name(axes, name, x, y, best[1])
            taken.append(best[2])


def _write_name(axes: Any, name: str, x: float, y: float, place: tuple[int, int]) -> tuple[Any, Any]:
    """Write a name at a place, with a thin line to its point from further off; return its box without that line."""
    from matplotlib.text import Text

    right, up = place
    tie = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
    text = axes.annotate(
        name, (x, y), xytext=place, textcoords="offset points", fontsize=9, color=INK,
        ha="center" if not right else "left" if right > 0 else "right",
        va="center" if not up else "bottom" if up > 0 else "top",
        arrowprops=tie if abs(up) > 7 else None,
    )  # fmt: skip
    text.get_window_extent()  # puts it into its place, but has the thin line in it
    return Text.get_window_extent(text), text


def _along(corners: Any, step: float = 4) -> list[tuple[float, float]]:
    """Points of a broken line, about ``step`` pixels apart."""
    dots: list[tuple[float, float]] = []
    for (x1, y1), (x2, y2) in itertools.pairwise(corners):
        count = max(1, int(math.hypot(x2 - x1, y2 - y1) / step))
        dots += [(x1 + (x2 - x1) * part / count, y1 + (y2 - y1) * part / count) for part in range(count + 1)]
    return dots


def _square(x: float, y: float, half: float) -> Any:
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _area(box: Any) -> float:
    return float(box.width * box.height)


def _common(box: Any, other: Any) -> float:
    """The area that two boxes share, in square pixels."""
    from matplotlib.transforms import Bbox

    shared = Bbox.intersection(box, other)
    return 0.0 if shared is None else _area(shared)


def _draw_bars(rows: Sequence[Row], path: Path) -> None:
    with figure_file(path, 8.2, 1.6 + 0.42 * len(rows)) as figure:
        axis = figure.subplots()
        places = range(len(rows))
        left = [0.0] * len(rows)
        for number, (key, label) in enumerate(_STEPS):
            widths = [getattr(row, key) for row in rows]
            axis.barh(places, widths, left=left, height=0.62, color=colour((5, 0, 4)[number]), label=label)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        for place, row in zip(places, rows, strict=True):
            axis.annotate(
                f"{left[place]:.1f} ms, ratio {row.ratio:.2f}",
                (left[place], place),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=INK,
            )
        axis.set_yticks(places, _names(rows))
        axis.tick_params(axis="y", length=0)
        axis.invert_yaxis()
        axis.set_xlim(0, max(left) * 1.55)
        axis.grid(True, axis="x")
        axis.set_xlabel(f"median milliseconds{_batch(rows)}")
        axis.set_title("Latency")
        figure.legend(loc="outside upper right", ncols=len(_STEPS))
        _conditions(figure, rows)


def _names(rows: Sequence[Row], told: Sequence[str] = ("imgsz", "precision", "engine")) -> list[str]:
    """A name for each, with what tells apart those of one model."""
    several = [key for key in told if len({getattr(row, key) for row in rows}) > 1]
    units = {"imgsz": " px", "precision": "", "engine": ""}
    return [
        ", ".join([shorten(row.model, 34), *(f"{getattr(row, key)}{units[key]}" for key in several)]) for row in rows
    ]


def _batch(rows: Sequence[Row]) -> str:
    return "" if rows[0].batch == 1 else f" a batch of {rows[0].batch}"


def _conditions(figure: Any, rows: Sequence[Row]) -> None:
    row = rows[0]
    sizes = ", ".join(str(size) for size in sorted({row.imgsz for row in rows}))
    engines = ", ".join(sorted({row.engine for row in rows}))
    threads = f"{row.threads} thread{'s' * (row.threads > 1)}"
    figure.supxlabel(
        f"{row.machine['cpu']}, {threads}, {sizes} px, {engines}, {row.runs} calls each",
        fontsize=8,
        color=FAINT,
        x=0.01,
        ha="left",
    )

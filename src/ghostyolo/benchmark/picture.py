"""Draw a benchmark: AP against latency where weights were scored, else latency as bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ghostyolo.benchmark.rows import Row
from ghostyolo.errors import ConfigError
from ghostyolo.evaluate.plots.style import FAINT, INK, colour, figure_file, shorten
from ghostyolo.extras import require

SUFFIXES = (".png", ".svg", ".pdf")
_STEPS = (("preprocess_ms", "before the network"), ("median_ms", "network"), ("postprocess_ms", "after it"))


def check_picture(path: Path) -> None:
    """Refuse a picture that cannot be drawn, before anything is measured.

    Raises:
        ConfigError: a suffix that is no picture's.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--picture {path}: the name must end in {', '.join(SUFFIXES)}")
    require("train", "--picture")


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the picture.

    Raises:
        MissingExtraError, OutputError: it cannot be drawn or written.
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
        _write_names(axis, networks)


def _write_names(axis: Any, networks: dict[str, list[Row]]) -> None:
    """Name each network once, at its slowest point, where no other name is yet: above, below, then further away."""
    taken: list[Any] = []
    for name, mine in networks.items():
        slowest = max(mine, key=lambda row: row.median_ms)
        for height in (5, -14, 18, -27, 31, -40):
            text = axis.annotate(
                name,
                (slowest.median_ms, slowest.AP),
                (7, height),
                textcoords="offset points",
                fontsize=9,
                color=INK,
            )
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken) or height == -40:
                taken.append(box)
                break
            text.remove()


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

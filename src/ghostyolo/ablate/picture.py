"""The picture of a grid's differences to the base.

Each model has every cell's difference with its interval, and every seed as a dot.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ghostyolo.ablate.grid import BASE
from ghostyolo.ablate.table import Line
from ghostyolo.evaluate.plots.style import FAINT, INK, PALETTE, figure_file, shorten

_COLOURS = {"helps": PALETTE[2], "hurts": PALETTE[1]}


def draw(lines: Sequence[Line], path: Path, title: str, conditions: str) -> None:
    """Write the picture.

    Args:
        title: of the score.
        conditions: a line below.

    Raises:
        MissingExtraError, OutputError: it cannot be drawn or written.
    """
    models = list(dict.fromkeys(line.model for line in lines))
    rows = {model: [line for line in lines if line.model == model] for model in models}
    most = max(len(found) for found in rows.values())
    with figure_file(path, 2.6 + 4.2 * len(models), 1.9 + 0.34 * most) as figure:
        axes = figure.subplots(1, len(models), squeeze=False, sharex=True)[0]
        for axis, model in zip(axes, models, strict=True):
            _draw_model(axis, rows[model], title)
            axis.set_title(shorten(model, 40))
        figure.supxlabel(conditions, fontsize=8, color=FAINT, x=0.01, ha="left")


def _draw_model(axis: Any, lines: Sequence[Line], title: str) -> None:
    base = next((line for line in lines if line.cell == BASE), None)
    axis.axvline(0, color=FAINT, linewidth=1.0, zorder=1)
    for place, line in enumerate(lines):
        colour = _COLOURS.get(line.verdict, FAINT)
        if base is None:
            continue
        # The base's own dots are around its mean, so that the reader sees how far seeds spread.
        start = {seed: base.mean for seed in line.values} if line is base else base.values
        dots = [value - start[seed] for seed, value in line.values.items() if seed in start]
        axis.scatter(dots, [place] * len(dots), s=16, color=colour, alpha=0.55, linewidths=0, zorder=2)
        gap = line.difference
        if gap is None:
            continue
        axis.scatter([gap.mean], [place], s=44, marker="D", color=colour, zorder=4)
        if gap.low is not None and gap.high is not None:
            axis.plot([gap.low, gap.high], [place, place], color=colour, linewidth=2.0, zorder=3)
    names = [f"base ({line.mean:.1f})" if line is base else shorten(line.cell, 30) for line in lines]
    axis.set_yticks(range(len(lines)), names)
    axis.tick_params(axis="y", length=0, colors=INK)
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.grid(True, axis="x")
    axis.set_xlabel(f"{title}: difference to the base, points")

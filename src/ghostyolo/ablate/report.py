"""The files of a grid's results: Markdown, CSV, JSON and one picture.

Each is whole at any time.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ghostyolo.ablate.cells import Plan
from ghostyolo.ablate.grid import BASE
from ghostyolo.ablate.statistics import LEVEL
from ghostyolo.ablate.table import Epoch, Line, Result, make_lines, result_json
from ghostyolo.benchmark.machine import describe_machine, machine_line
from ghostyolo.evaluate.plots.style import FAINT, INK, PALETTE, figure_file, shorten
from ghostyolo.files import write_json, write_text

NAME = "ablation"
PACKAGES = ("torch", "timm", "lightning")
_COLOURS = {"helps": PALETTE[2], "hurts": PALETTE[1]}


def write_report(plan: Plan, results: Sequence[Result], epoch: Epoch, failed: dict[str, str]) -> list[Line]:
    """Rewrite ``ablation.md``, ``.csv``, ``.json`` and ``.png`` in the grid's folder.

    Args:
        failed: name of a run -> why.

    Raises:
        OutputError: one cannot be written.
    """
    lines = make_lines(results, plan.kind.scores, epoch)
    machine = describe_machine(*PACKAGES)
    grid = plan.grid.model_dump(mode="json")
    same = [{"model": model, "cell": cell, "same_as": other} for (model, cell), other in plan.same.items()]
    rows = [result_json(result) for result in results]
    table = [asdict(line) for line in lines]
    write_json(
        plan.out / f"{NAME}.json",
        {
            "machine": machine,
            "grid": grid,
            "epoch": epoch,
            "table": table,
            "same": same,
            "failed": failed,
            "runs": rows,
        },
    )
    write_text(plan.out / f"{NAME}.csv", _csv(plan, lines))
    write_text(plan.out / f"{NAME}.md", markdown(plan, lines, epoch, failed, machine))
    if lines:
        draw(lines, plan.out / f"{NAME}.png", plan.kind.titles[0], _conditions(plan, epoch))
    return lines


def markdown(plan: Plan, lines: Sequence[Line], epoch: Epoch, failed: dict[str, str], machine: dict[str, Any]) -> str:
    """The table with the conditions that it holds under."""
    head = headings(plan)
    rows = [head, [" --- "] * len(head), *(cells(line) for line in lines)]
    text = [f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows]
    done, wanted = sum(len(line.values) for line in lines), len(plan.runs)
    notes = [
        f"{_conditions(plan, epoch)}. {done} of {wanted} runs are finished.",
        f"A difference is that of the same seeds to the base; the interval is Student's t at {1 - LEVEL:.0%}, for that "
        "cell alone, with the noise of all cells of the model. The verdict is by p after Holm's correction over these.",
        "Cost is the training time of a picture as a multiple of the base's.",
        *(f"{cell} of {model} is the same as {other}." for (model, cell), other in plan.same.items()),
        *(f"Failed: {name}: {why}." for name, why in failed.items()),
        f"{machine_line(machine)}.",
    ]
    return "\n".join([*text, "", "\n\n".join(notes)]) + "\n"


def headings(plan: Plan) -> list[str]:
    """Of the table."""
    first, second = plan.kind.titles
    return [
        "model", "cell", "seeds", first, "deviation", second, "difference", "95 % interval", "p", "p (Holm)", "shows",
        "cost", "params M", "MACs M",
    ]  # fmt: skip


def cells(line: Line) -> list[str]:
    """A line of the table as text; what is unknown is a dash."""
    gap = line.difference
    interval = "-"
    if gap is not None and gap.low is not None and gap.high is not None:
        interval = f"{gap.low:+.2f} to {gap.high:+.2f}"
    return [
        line.model,
        line.cell,
        str(len(line.values)),
        f"{line.mean:.2f}",
        _text(line.deviation, ".2f"),
        _text(line.second, ".2f"),
        _text(None if gap is None else gap.mean, "+.2f"),
        interval,
        _probability(None if gap is None else gap.p),
        _probability(line.adjusted_p),
        line.verdict,
        _text(line.cost, ".2f"),
        _text(line.params_deployed, ".2f", 1e6),
        _text(line.macs_deployed, ".1f", 1e6),
    ]


def _probability(p: float | None) -> str:
    return "< 0.001" if p is not None and p < 0.001 else _text(p, ".3f")


def _csv(plan: Plan, lines: Sequence[Line]) -> str:
    """One row a cell, unrounded."""
    first, second = plan.kind.scores
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["model", "cell", "seeds", first, "deviation", second, "difference", "low", "high", "p", "p_holm", "shows",
         "cost", "params_deployed", "macs_deployed"]
    )  # fmt: skip
    for line in lines:
        gap = line.difference
        numbers = (None,) * 4 if gap is None else (gap.mean, gap.low, gap.high, gap.p)
        writer.writerow(
            [line.model, line.cell, len(line.values), line.mean, line.deviation, line.second, *numbers,
             line.adjusted_p, line.verdict, line.cost, line.params_deployed, line.macs_deployed]
        )  # fmt: skip
    return text.getvalue()


def _conditions(plan: Plan, epoch: Epoch) -> str:
    weights = "after the last epoch" if epoch == "last" else "of the best epoch, which was chosen by this score"
    seeds = ", ".join(map(str, plan.grid.seeds))
    return f"{plan.kind.titles[0]} in points of 100 on {Path(plan.grid.data).name}, weights {weights}, seeds {seeds}"


def _text(value: float | None, form: str, unit: float = 1.0) -> str:
    return "-" if value is None else format(value / unit, form)


def draw(lines: Sequence[Line], path: Path, title: str, conditions: str) -> None:
    """Write the picture: differences to the base, intervals, a dot for each seed.

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

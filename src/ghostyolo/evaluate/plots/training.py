"""Losses, AP and learning rate against the epoch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ghostyolo.errors import DataError
from ghostyolo.evaluate.plots.style import FAINT, INK, colour, figure_file

Series = list[tuple[float, float]]  # (epoch, value), by rising epoch

# Panels in the order they are drawn: title, and what the last part of a column's name ("train/box" -> "box")
# is.
_PANELS = (
    ("Loss", re.compile(r"(total_?)?loss(_epoch)?")),
    (
        "Parts of the loss",
        re.compile(r"((many|one)_)?(box|ciou|iou|giou|cls|class|bce|dfl|obj|l1|kd\w*)(_loss)?(_epoch)?"),
    ),
    ("Accuracy on val", re.compile(r"(mAP|AP|AR)[\w:.-]*|accuracy|acc\d*|top\d")),
    ("Learning rate", re.compile(r"lr[\w-]*|pg\d+")),
)


def plot_training_curves(rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draw a panel each for loss, parts, accuracy and learning rate.

    Only those that were recorded.

    Args:
        rows: as ``csv.DictReader`` reads a training log: ``epoch`` and any of ``train/loss``, ``train/box``,
            ``train/cls``, ``train/dfl``, ``val/AP``, ``val/AP50``, ``lr`` (other prefixes and further columns
            of these kinds too; the rest is left out). Values are numbers or their text; a missing, empty or
            not-a-number value is left out. Several rows may share an epoch, the last value counts.
        path: the picture.

    Raises:
        DataError: no row has an epoch and a value to draw.
        OutputError: it cannot be drawn or written.
    """
    panels = _panels(_collect(rows))
    if not panels:
        raise DataError(f"no training curves to draw in {path}: no row of the log has an epoch and a loss or AP")
    columns = min(len(panels), 2)
    lines = math.ceil(len(panels) / columns)
    with figure_file(path, 5.2 * columns, 3.4 * lines) as figure:
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for axis in axes[len(panels) :]:
            axis.remove()
        for axis, (title, curves) in zip(axes, panels, strict=False):
            _draw_panel(axis, title, curves)


def _collect(rows: Iterable[Mapping[str, Any]]) -> dict[str, Series]:
    """Return each column's finite values by epoch."""
    values: dict[str, dict[float, float]] = {}
    for row in rows:
        epoch = _number(row.get("epoch"))
        if epoch is None:
            continue
        for name, raw in row.items():
            value = _number(raw)
            if value is not None and isinstance(name, str):
                values.setdefault(name, {})[epoch] = value
    return {name: sorted(by_epoch.items()) for name, by_epoch in values.items()}


def _number(raw: Any) -> float | None:
    try:
        value = float(raw)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _panels(series: dict[str, Series]) -> list[tuple[str, dict[str, Series]]]:
    panels = []
    for title, pattern in _PANELS:
        curves = {name: points for name, points in series.items() if _is_about(name, pattern)}
        if curves:
            panels.append((title, curves))
    return panels


def _is_about(column: str, pattern: re.Pattern[str]) -> bool:
    # "lr-SGD/pg1" is Lightning's; "AP/RBC" and the like are a class's own and would be too many lines.
    return bool(pattern.fullmatch(column.rsplit("/", 1)[-1]))


def _draw_panel(axis: Any, title: str, curves: dict[str, Series]) -> None:
    axis.set_title(title)
    axis.set_xlabel("epoch")
    axis.grid(True)
    for number, (name, points) in enumerate(curves.items()):
        epochs, values = zip(*points, strict=True)
        alone = len(points) == 1
        axis.plot(epochs, values, color=colour(number), label=name, marker="o" if alone else None)
    _frame_epochs(axis, [epoch for points in curves.values() for epoch, _ in points])
    axis.yaxis.set_major_formatter("{x:g}")
    if title == "Accuracy on val":
        axis.set_ylim(bottom=0)
        _name_best(axis, curves)
    elif title == "Learning rate":
        axis.set_ylim(bottom=0)
    if len(curves) > 1:
        axis.legend(ncols=1 + (len(curves) > 4))
    else:
        axis.set_ylabel(next(iter(curves)), color=FAINT)


def _frame_epochs(axis: Any, epochs: list[float]) -> None:
    axis.xaxis.get_major_locator().set_params(integer=True)
    if len(set(epochs)) == 1:
        axis.set_xlim(epochs[0] - 1, epochs[0] + 1)


def _name_best(axis: Any, curves: dict[str, Series]) -> None:
    """Mark the best epoch by AP, as checkpoints are chosen; by the first curve where there is no AP."""
    name = next((name for name in curves if name.rsplit("/", 1)[-1] in ("AP", "mAP")), next(iter(curves)))
    epoch, value = max(curves[name], key=lambda point: (point[1], -point[0]))
    look = {"color": colour(list(curves).index(name)), "markeredgecolor": "white", "markersize": 7}
    axis.plot([epoch], [value], marker="o", **look)
    metric = name.rsplit("/", 1)[-1]
    text = f"best {metric} {value:.3f} at epoch {epoch:g}"
    axis.set_title(text, loc="right", fontsize=9, fontweight="normal", color=INK)

"""The confusion matrix as a heat map."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ghostyolo.evaluate.confusion import ConfusionMatrix
from ghostyolo.evaluate.plots.style import INK, figure_file, shorten

_MOST_NUMBERED = 16  # classes; beyond that the numbers would not be legible


def plot_confusion(matrix: ConfusionMatrix, path: str | os.PathLike[str]) -> None:
    """Draw what the objects of each class were taken for.

    Counts, coloured by their share of the row.

    Raises:
        OutputError: it cannot be drawn or written.
    """
    counts = matrix.counts
    size = len(counts)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    # Detections of nothing have no total to be a share of: they are measured by all detections of their
    # class.
    taken = np.maximum(counts.sum(axis=0), 1)
    shares[-1] = counts[-1] / taken
    cell = 0.85 if size <= _MOST_NUMBERED else max(0.12, 12 / size)
    side = min(max(3.2, cell * size), 15)
    with figure_file(path, side + 2.6, side + 1.7) as figure:
        axis = figure.subplots()
        image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if size <= _MOST_NUMBERED + 1:
            _number_cells(axis, counts, shares)
        names = [shorten(name) for name in matrix.class_names]
        font = 10 if size <= 12 else max(4.0, 10 * 20 / (size + 12))
        turned = {"rotation": 40, "ha": "right"} if size <= _MOST_NUMBERED else {"rotation": 90}
        axis.set_xticks(range(size), [*names, "missed"], fontsize=font, **turned)
        axis.set_yticks(range(size), [*names, "background"], fontsize=font)
        axis.set_xlabel("predicted")
        axis.set_ylabel("truth")
        axis.set_title(f"Confusion at IoU {matrix.iou:g}, confidence {matrix.confidence:g}")
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        # White lines between the cells, a stronger one before what is no class.
        axis.set_xticks(np.arange(1, size) - 0.5, minor=True)
        axis.set_yticks(np.arange(1, size) - 0.5, minor=True)
        axis.grid(which="minor", color="white", linewidth=1.5 if size <= _MOST_NUMBERED else 0.3)
        axis.tick_params(which="minor", length=0)
        for draw in (axis.axhline, axis.axvline):
            draw(size - 1.5, color=INK, linewidth=0.8)
        shares_of = "share of the row (last row: of the column)"
        bar = figure.colorbar(image, ax=axis, shrink=0.7, aspect=30, label=shares_of)
        bar.outline.set_visible(False)


def _number_cells(axis: Any, counts: np.ndarray, shares: np.ndarray) -> None:
    last = len(counts) - 1
    for row, column in np.ndindex(*counts.shape):
        if row == column == last:
            continue
        count = int(counts[row, column])
        text = f"{count}\n{shares[row, column]:.0%}" if count else "0"
        ink = "white" if shares[row, column] > 0.55 else (INK if count else "#B5B5B5")
        axis.text(column, row, text, ha="center", va="center", fontsize=9, color=ink, linespacing=1.25)

"""Precision against recall and F1 against confidence, side by side."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ghostyolo.evaluate.curves import Curves
from ghostyolo.evaluate.plots.style import FAINT, INK, colour, figure_file, shorten

_MOST_NAMED = 12  # more lines than this cannot be told apart by colour


def plot_pr_curves(curves: Curves, path: str | os.PathLike[str]) -> None:
    """Draw the curves of each class and their mean.

    With many classes the single ones are grey and unnamed.

    Raises:
        OutputError: it cannot be drawn or written.
    """
    shown = np.flatnonzero(curves.present)
    named = len(shown) <= _MOST_NAMED
    ap = curves.average_precision()
    with figure_file(path, 10.5, 4.4) as figure:
        left, right = figure.subplots(1, 2)
        for label in shown:
            look = (
                {"color": colour(label), "label": f"{shorten(curves.class_names[label])}  {ap[label]:.3f}"}
                if named
                else {"color": "#C9CFD6", "linewidth": 0.8}
            )
            left.plot(curves.recall, curves.precision[label], **look)
            right.plot(curves.confidence, curves.f1[label], **look)
        if len(shown):
            _draw_mean(left, right, curves, shown)
        _frame(left, "Precision and recall", "recall", "precision")
        _frame(right, "F1 by confidence", "confidence threshold", "F1")
        handles, labels = left.get_legend_handles_labels()
        if not len(shown):
            for axis in (left, right):
                axis.text(0.5, 0.5, "no labelled objects", ha="center", va="center", color=FAINT)
        elif not named:
            handles.insert(0, left.lines[0])
            labels.insert(0, f"{len(shown)} classes")
        if handles:
            figure.legend(handles, labels, loc="outside right upper", title=f"AP at IoU {curves.iou:g}")


def _draw_mean(left: Any, right: Any, curves: Curves, shown: np.ndarray) -> None:
    mean_precision = curves.precision[shown].mean(axis=0)
    mean = {"color": INK, "linewidth": 2.6, "label": f"all classes  {mean_precision.mean():.3f}"}
    left.plot(curves.recall, mean_precision, **mean)
    right.plot(curves.confidence, curves.f1[shown].mean(axis=0), **mean)
    confidence, f1 = curves.best_confidence()
    right.axvline(confidence, color=FAINT, linestyle=":", linewidth=1.2)
    right.annotate(
        f"best mean F1 {f1:.3f} at {confidence:.3f}",
        (confidence, 0.03),
        textcoords="offset points",
        xytext=(6, 0) if confidence < 0.5 else (-6, 0),
        ha="left" if confidence < 0.5 else "right",
        fontsize=9,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )


def _frame(axis: Any, title: str, x: str, y: str) -> None:
    axis.set(title=title, xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))
    axis.grid(True)

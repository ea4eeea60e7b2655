"""An evaluation as it is told.

AP with its interval, classes with their best confidence, the worst pictures.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ghostyolo.evaluate.best_confidence import BestPoints, Point, find_best_points
from ghostyolo.evaluate.coco import ClassMetrics
from ghostyolo.evaluate.curves import compute_curves
from ghostyolo.evaluate.evaluation import EvaluationResult, ImageLoader
from ghostyolo.evaluate.interval import ap_interval
from ghostyolo.evaluate.worst_pictures import write_worst_pictures
from ghostyolo.thresholds import SELECTION

if TYPE_CHECKING:
    from rich.console import Console

_RATES = ("precision", "recall", "f1", "confidence")


@dataclass(frozen=True)
class Report:
    """An evaluation with what follows from it.

    Attributes:
        result: the evaluation.
        best: the confidences with the highest F1 at IoU 0.5.
        interval: 95 % of AP, by a bootstrap over the pictures; None where there are too few.
    """

    result: EvaluationResult
    best: BestPoints
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, result: EvaluationResult) -> Report:
        """Work out a report."""
        found = (result.records, result.detections)
        return cls(
            result,
            find_best_points(compute_curves(*found, result.class_names)),
            ap_interval(*found, len(result.class_names)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the metrics with the documented keys, values in 0..1 or None."""
        metrics = self.result.metrics.to_json()
        for name, values in metrics["per_class"].items():
            values.update(_rates(self.best.per_class.get(name)))
        interval = None if self.interval is None else list(self.interval)
        return {**metrics, "AP_interval": interval, "best": _rates(self.best.overall)}

    def score_text(self) -> str:
        """Return AP with its interval, and AP50."""
        metrics = self.result.metrics
        interval = ""
        if self.interval is not None:
            low, high = self.interval
            interval = f" (95 % interval {low:.3f} to {high:.3f}, bootstrap over {metrics.images} pictures)"
        return f"AP {show(metrics.AP)}{interval}, AP50 {show(metrics.AP50)}"

    def write_worst(self, path: str | Path, title: str, load_image: ImageLoader | None = None) -> int:
        """Write the page of the worst pictures, at the best confidence of each class.

        Args:
            path: of the page.
            title: what was evaluated.
            load_image: as in :func:`ghostyolo.evaluate.evaluate`.

        Returns:
            How many pictures are on it.

        Raises:
            OutputError: the page cannot be written.
        """
        usual = self.best.overall.confidence if self.best.overall is not None else SELECTION.confidence
        points = self.best.per_class
        confidences = np.array(
            [points[name].confidence if name in points else usual for name in self.result.class_names]
        )
        lines = [self.score_text(), f"boxes from the best confidence of each class on: {_listed(self.best)}"]
        return write_worst_pictures(self.result, confidences, path, title=title, lines=lines, load_image=load_image)


def print_report(console: Console, report: Report, title: str) -> None:
    """Print a row for all classes together and one for each."""
    from rich.markup import escape
    from rich.table import Table

    metrics, best = report.result.metrics, report.best
    table = Table(title=escape(title), title_justify="left")
    table.add_column("class", overflow="fold")
    for header in ("images", "objects", "AP", "AP50", "P", "R", "F1", "conf"):
        table.add_column(header, justify="right")

    def add(name: str, row: ClassMetrics | Any, point: Point | None, **look: Any) -> None:
        rates = (show(value) for value in _rates(point).values())
        table.add_row(escape(name), str(row.images), str(row.objects), show(row.AP), show(row.AP50), *rates, **look)

    add("all", metrics, best.overall, style="bold", end_section=True)
    for name, one in metrics.per_class.items():
        add(name, one, best.per_class.get(name))
    console.print(table)
    for line in (
        report.score_text(),
        f"AP75 {show(metrics.AP75)}   AP small {show(metrics.APs)}   medium {show(metrics.APm)}   "
        f"large {show(metrics.APl)}   AR100 {show(metrics.AR100)}",
        "P, R, F1: precision, recall and F1 at IoU 0.5 and the confidence with the highest F1 (conf)",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def show(value: float | None) -> str:
    """Write a metric with three digits, a dash where it is undefined."""
    return "-" if value is None else f"{value:.3f}"


def _rates(point: Point | None) -> dict[str, float | None]:
    values = dict.fromkeys(_RATES) if point is None else asdict(point)
    return {name: values[name] for name in _RATES}


def _listed(best: BestPoints) -> str:
    return ", ".join(f"{name} {point.confidence:.2f}" for name, point in best.per_class.items()) or "none"

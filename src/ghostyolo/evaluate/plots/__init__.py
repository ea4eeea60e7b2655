"""Result pictures: training curves, PR curves, the confusion matrix, labels beside predictions.

matplotlib is slow to import, so that is done only when a picture is drawn.
"""

from __future__ import annotations

import os
from pathlib import Path

from ghostyolo.evaluate.confusion import compute_confusion
from ghostyolo.evaluate.curves import compute_curves
from ghostyolo.evaluate.evaluation import EvaluationResult, ImageLoader
from ghostyolo.evaluate.plots.confusion import plot_confusion
from ghostyolo.evaluate.plots.curves import plot_pr_curves
from ghostyolo.evaluate.plots.pictures import plot_labels_beside_predictions
from ghostyolo.evaluate.plots.training import plot_training_curves

__all__ = [
    "plot_confusion",
    "plot_labels_beside_predictions",
    "plot_pr_curves",
    "plot_training_curves",
    "write_result_pictures",
]


def write_result_pictures(
    result: EvaluationResult, folder: str | os.PathLike[str], load_image: ImageLoader | None = None
) -> list[Path]:
    """Write ``pr_curves.png``, ``confusion_matrix.png`` and ``predictions.png`` of an evaluation.

    Args:
        result: from :func:`ghostyolo.evaluate.evaluate`.
        folder: made where missing; files of those names in it are replaced.
        load_image: as in :func:`ghostyolo.evaluate.evaluate`.

    Returns:
        The files written.

    Raises:
        OutputError: the folder cannot be written.
    """
    names = ("pr_curves.png", "confusion_matrix.png", "predictions.png")
    curves_path, confusion_path, predictions_path = paths = [Path(folder) / name for name in names]
    found = (result.records, result.detections, result.class_names)
    plot_pr_curves(compute_curves(*found), curves_path)
    plot_confusion(compute_confusion(*found), confusion_path)
    plot_labels_beside_predictions(*found, predictions_path, load_image=load_image)
    return paths

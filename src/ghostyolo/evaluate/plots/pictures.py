"""Labelled pictures beside the same pictures with what was predicted."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ghostyolo.data.records import ImageRecord
from ghostyolo.errors import DataError
from ghostyolo.evaluate.detections import ImageDetections
from ghostyolo.evaluate.evaluation import ImageLoader
from ghostyolo.evaluate.plots.style import FAINT, INK, colour, figure_file, shorten
from ghostyolo.thresholds import SELECTION

log = logging.getLogger(__name__)

_WIDTH = 6.0  # inches of one picture
_TALLEST = 7.0


def plot_labels_beside_predictions(
    records: Sequence[ImageRecord],
    detections: Sequence[ImageDetections],
    class_names: Sequence[str],
    path: str | os.PathLike[str],
    rows: int = 4,
    *,
    confidence: float = SELECTION.confidence,
    load_image: ImageLoader | None = None,
) -> None:
    """Draw pictures twice: labels on the left, predictions on the right.

    There are up to ``rows``; predictions have their scores.

    Pictures are taken evenly over those that have labels (over all where none has), so the choice is the same
    each time. Ignored objects are dashed. Pictures that cannot be read are left out.

    Args:
        records: the pictures' labels.
        detections: what was found in each, same order.
        class_names: one name for each label.
        path: the picture to write.
        rows: how many pictures.
        confidence: predictions that score less are not drawn.
        load_image: returns a record's picture, (H, W, C) uint8 RGB or grey; reads the file where None.

    Raises:
        DataError: there is no picture, or none of those chosen can be read.
        OutputError: it cannot be drawn or written.
    """
    chosen = _choose(records, rows)
    pictures = [(index, image) for index in chosen if (image := _read(records[index], load_image)) is not None]
    if not pictures:
        raise DataError(f"no picture to draw in {path}: there is none, or none can be read")
    heights = [min(_TALLEST, _WIDTH * image.shape[0] / image.shape[1]) for _, image in pictures]
    with figure_file(path, 2 * _WIDTH + 0.3, sum(heights) + 0.35 * len(pictures) + 0.3) as figure:
        grid = figure.subplots(len(pictures), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
        for (left, right), (index, image) in zip(grid, pictures, strict=True):
            record, found = records[index], detections[index].above(confidence)
            for axis, title in (
                (left, record.path.name),
                (right, f"predicted at confidence {confidence:g} and up"),
            ):
                # Box corners count from the first pixel's edge; imshow's own axes from its centre.
                extent = (0, image.shape[1], image.shape[0], 0)
                axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear", extent=extent)
                axis.set_title(title, fontsize=9, color=INK if axis is left else FAINT, fontweight="normal")
                axis.set_axis_off()
            crowded = max(len(record.labels), len(found)) > 25
            for box, label, ignored in zip(record.boxes_xyxy, record.labels, record.ignore, strict=True):
                _draw_box(left, image, box, int(label), shorten(class_names[label]), crowded, bool(ignored))
            # The strongest last, on top.
            for i in reversed(range(len(found))):
                text = f"{shorten(class_names[found.labels[i]])} {found.scores[i]:.2f}"
                _draw_box(right, image, found.boxes_xyxy[i], int(found.labels[i]), text, crowded)


def _choose(records: Sequence[ImageRecord], rows: int) -> list[int]:
    labelled = [index for index, record in enumerate(records) if len(record.labels)]
    pool = labelled or list(range(len(records)))
    if not pool or rows < 1:
        return []
    positions = np.linspace(0, len(pool) - 1, min(rows, len(pool)))
    return [pool[round(position)] for position in positions]


def _read(record: ImageRecord, load_image: ImageLoader | None) -> np.ndarray | None:
    """Return (H, W, 3) or (H, W) for matplotlib, None where the file cannot be read."""
    try:
        if load_image is None:
            from ghostyolo.data.images import read_image

            image = read_image(record.path, pixel_range=record.pixel_range)
        else:
            image = load_image(record)
    except (DataError, OSError) as error:
        log.warning("not drawn: %s", error)
        return None
    # More channels than three have no colours of their own; the first one is shown.
    return image if image.ndim == 3 and image.shape[2] == 3 else image.reshape(*image.shape[:2], -1)[:, :, 0]


def _draw_box(
    axis: Any, image: np.ndarray, box: np.ndarray, label: int, text: str, crowded: bool, dashed: bool = False
) -> None:
    from matplotlib.patches import Rectangle

    height, width = image.shape[:2]
    x1, y1, x2, y2 = (float(value) for value in box)
    axis.add_patch(
        Rectangle(
            (x1, y1),
            x2 - x1,
            y2 - y1,
            fill=False,
            edgecolor=colour(label),
            linewidth=1.2 if crowded else 1.8,
            linestyle="--" if dashed else "-",
        )
    )
    # Above the box, inside it where the picture ends there; never beyond the right edge.
    inside = y1 < 0.04 * height
    at_right = x1 > 0.8 * width
    axis.text(
        min(x2, width) if at_right else max(x1, 0.0),
        max(y1, 0.0),
        text,
        ha="right" if at_right else "left",
        va="top" if inside else "bottom",
        fontsize=5.5 if crowded else 7.5,
        color="white",
        bbox={"facecolor": colour(label), "edgecolor": "none", "alpha": 0.85, "pad": 1.0},
        clip_on=True,
        in_layout=False,  # measuring every label would take longer than drawing them
    )

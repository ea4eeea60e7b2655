"""What every reader hands over before pictures are opened.

And how faults in it are reported or refused.

The readers (``yolo.py``, ``coco.py``, ``voc.py``) only parse annotations, into :class:`RawData`.
:func:`build_record` then opens a picture's header, scales, clips and drops. Loading and ``data check``
share both: a strict :class:`Reporter` raises at the first fault that makes labels untrustworthy, a lenient
one collects everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ghostyolo.data.images import read_image_size
from ghostyolo.data.records import ImageRecord
from ghostyolo.errors import DataError, suggest

# A box may leave its picture by so many pixels before it is worth a word: annotation tools round.
OUTSIDE_TOLERANCE = 1.0
# Sides below this many pixels are no area: what rounding leaves of an empty box.
MIN_SIDE = 1e-3

LEVELS = {
    "unreadable-image": "error",
    "missing-image": "error",
    "missing-split": "error",
    "bad-label": "error",
    "unknown-class": "error",
    "image-in-two-splits": "error",
    "zero-area-box": "warning",
    "box-outside": "warning",
    "duplicate-box": "warning",
    "duplicate-image": "warning",
    "size-mismatch": "warning",
    "class-without-objects": "warning",
    "image-without-objects": "info",
}
# Loading refuses these: a label that cannot be read would train or score a picture wrongly in silence.
_REFUSED = frozenset(("bad-label", "unknown-class"))


@dataclass(frozen=True)
class Problem:
    """One fault of a data set.

    Attributes:
        kind: a key of ``LEVELS``.
        path: the picture or annotation file.
        message: what is wrong, without the path.
        split: the split it was found in, or "".
    """

    kind: str
    path: Path
    message: str
    split: str = ""

    @property
    def level(self) -> str:
        """``"error"`` (something is lost or wrong), ``"warning"`` (mended on loading) or ``"info"``."""
        return LEVELS[self.kind]


@dataclass
class Reporter:
    """Collects problems; when strict, raises at those that loading refuses.

    Attributes:
        strict: raise :class:`DataError` for labels that cannot be trusted.
        problems: what was reported, in order.
    """

    strict: bool
    problems: list[Problem] = field(default_factory=list)

    def report(self, kind: str, path: Path, message: str, split: str = "") -> None:
        """Note a problem, or refuse it."""
        if self.strict and kind in _REFUSED:
            raise DataError(f"{path}: {message} (`ghostyolo data check` lists every such fault)")
        self.problems.append(Problem(kind, path, message, split))


@dataclass
class RawImage:
    """A picture's annotations as parsed.

    Attributes:
        path: the picture.
        image_id: as in :class:`ImageRecord`.
        source: the annotation file, for messages.
        boxes: xyxy; pixels, or fractions of the picture's sides when ``normalised``. Always finite.
        labels: class indices, all within the names.
        ignore: True for COCO crowd and VOC difficult.
        difficult: True for VOC difficult.
        areas: square pixels that the annotation states; None where it states none.
        places: where each box was written: a line, annotation or object number.
        normalised: see ``boxes``.
        written_size: (width, height) that the annotations claim.
    """

    path: Path
    image_id: int
    source: Path
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ignore: list[bool] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)
    areas: list[float | None] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    normalised: bool = False
    written_size: tuple[int, int] | None = None

    def add(
        self,
        box: tuple[float, float, float, float],
        label: int,
        place: str,
        crowd: bool = False,
        difficult: bool = False,
        area: float | None = None,
    ) -> None:
        """Append one object."""
        self.boxes.append(box)
        self.labels.append(label)
        self.places.append(place)
        self.ignore.append(crowd or difficult)
        self.difficult.append(difficult)
        self.areas.append(area)


@dataclass
class RawData:
    """Parsed annotations of a data set; see :class:`ghostyolo.data.records.DetectionData`."""

    root: Path
    layout: str
    class_names: list[str]
    splits: dict[str, list[RawImage]]


def build_record(
    raw: RawImage, reporter: Reporter, split: str, size: tuple[int, int] | None = None
) -> ImageRecord | None:
    """Open the picture's header and put the boxes into pixels.

    They are clipped to the picture; those without area are dropped.

    Args:
        raw: one parsed picture.
        reporter: where faults go.
        split: for the report.
        size: (width, height) when already known; else read from the file.

    Returns:
        None when the picture is missing or cannot be read; that is reported.
    """
    if size is None:
        try:
            size = read_image_size(raw.path)
        except DataError as error:
            kind = "unreadable-image" if raw.path.exists() else "missing-image"
            message = "no such picture" if kind == "missing-image" else without_path(str(error), raw.path)
            reporter.report(kind, raw.path, message, split)
            return None
    width, height = size
    boxes = np.array(raw.boxes, np.float64).reshape(-1, 4)
    if raw.normalised:
        boxes *= (width, height, width, height)
    elif raw.written_size is not None and raw.written_size != size and 0 not in raw.written_size:
        claimed = f"{raw.written_size[0]}x{raw.written_size[1]}"
        reporter.report("size-mismatch", raw.path, f"is {width}x{height}, {raw.source.name} says {claimed}", split)
    clipped = np.clip(boxes, 0, (width, height, width, height))
    keep = np.all(clipped[:, 2:] - clipped[:, :2] > MIN_SIDE, axis=1)
    if not reporter.strict and len(boxes):
        _report_boxes(raw, boxes, clipped, keep, reporter, split)
    return ImageRecord(
        path=raw.path,
        width=width,
        height=height,
        boxes_xyxy=clipped[keep].astype(np.float32),
        labels=np.array(raw.labels, np.int64)[keep],
        ignore=np.array(raw.ignore, np.bool_)[keep],
        image_id=raw.image_id,
        difficult=np.array(raw.difficult, np.bool_)[keep] if any(raw.difficult) else None,
        area=_areas(raw, clipped)[keep] if any(area is not None for area in raw.areas) else None,
    )


def _areas(raw: RawImage, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The stated areas (M,), and the boxes' own where none is stated."""
    own = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).tolist()
    return np.array([box if area is None else area for box, area in zip(own, raw.areas, strict=True)], np.float64)


def _report_boxes(
    raw: RawImage,
    boxes: npt.NDArray[np.float64],
    clipped: npt.NDArray[np.float64],
    keep: npt.NDArray[np.bool_],
    reporter: Reporter,
    split: str,
) -> None:
    outside = np.any(np.abs(boxes - clipped) > OUTSIDE_TOLERANCE, axis=1)
    empty = np.any(boxes[:, 2:] - boxes[:, :2] <= MIN_SIDE, axis=1)
    for index in np.flatnonzero(empty | ~keep | outside).tolist():
        corners = ", ".join(f"{value:.6g}" for value in boxes[index])
        if empty[index] or not outside[index]:
            reporter.report("zero-area-box", raw.source, f"{raw.places[index]}: no area ({corners} pixels)", split)
        else:
            message = f"{raw.places[index]}: leaves {raw.path.name} ({corners} pixels)"
            reporter.report("box-outside", raw.source, message, split)
    for index in duplicate_boxes(clipped, np.array(raw.labels, np.int64)):
        if keep[index]:
            reporter.report("duplicate-box", raw.source, f"{raw.places[index]}: same box and class as before", split)


def duplicate_boxes(boxes_xyxy: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> list[int]:
    """Return the indices of boxes equal to an earlier one.

    Boxes (M, 4) of the same label (M,), to 0.01 pixel.
    """
    seen: set[tuple[float, ...]] = set()
    repeated = []
    for index, (box, label) in enumerate(zip(boxes_xyxy.tolist(), labels.tolist(), strict=True)):
        key = (label, *(round(value, 2) for value in box))
        if key in seen:
            repeated.append(index)
        seen.add(key)
    return repeated


def all_finite(box: Sequence[float]) -> bool:
    """Whether none of the numbers is NaN or infinite."""
    return all(math.isfinite(value) for value in box)


def without_path(message: str, path: Path) -> str:
    """Cut the path off the front of an error's message.

    For a report that prints the path beside it.
    """
    return message.removeprefix(str(path)).lstrip(": ")


def standard_split(name: str) -> str:
    """Map the spellings in use to one: ``valid`` is ``val``, ``train2017`` is ``train``."""
    name = name.lower().rstrip("0123456789").rstrip("_-") or name
    return "val" if name in ("valid", "validation") else name


def choose_splits(offered: Sequence[str], wanted: Sequence[str] | None, where: Path) -> list[str]:
    """Return the wanted splits, or all.

    Raises:
        DataError: a wanted one is not offered; the message names those that are.
    """
    if wanted is None:
        return list(offered)
    for name in wanted:
        if name not in offered:
            raise DataError(f"{where} has no split '{name}': {suggest(name, offered)}")
    return list(dict.fromkeys(wanted))

"""What every reader hands over before pictures are opened.

The layouts' files only parse annotations, into :class:`RawData`. :func:`build_data` then opens each picture's header,
fits the boxes to the file, clips them, and judges the whole. Training, scoring and ``data check`` share all of it and
its one list of faults.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.folder import Folder
from ghostyolo.data.images import ImageInfo, common_range, read_image_info
from ghostyolo.data.listing import Listing, describe_passed
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import DataError, NoSplitError, suggest
from ghostyolo.text import Names

Box = tuple[float, float, float, float]
Boxes = npt.NDArray[np.float64]

# A box may leave its picture by so many pixels before it is worth a word: annotation tools round.
OUTSIDE_TOLERANCE = 1.0
# Sides below this many pixels are no area: what rounding leaves of an empty box.
MIN_SIDE = 1e-3
# Larger shares than these are out of the ordinary, and their cause is looked for.
_USUAL_UNLABELLED = 0.5
# So many pictures of more than 8 bits settle the range of all.
_USUAL_CLIPPED = 0.1


@dataclass
class RawImage:
    """A picture's annotations as parsed.

    Attributes:
        path: the picture.
        image_id: as in :class:`ImageRecord`.
        source: the annotation file, for messages.
        boxes: xyxy; pixels, or fractions of the picture's sides when ``normalised``. Always finite.
        labels: class indices, all within the names.
        crowd: True for COCO crowd.
        difficult: True for VOC difficult.
        areas: square pixels that the annotation states; None where it states none.
        places: where each box was written: a line, annotation or object number.
        normalised: see ``boxes``.
        written_size: (width, height) that the annotations claim.
    """

    path: Path
    image_id: int
    source: Path
    boxes: list[Box] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)
    areas: list[float | None] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    normalised: bool = False
    written_size: tuple[int, int] | None = None

    def add(
        self,
        box: Box,
        label: int,
        place: str,
        *,
        crowd: bool = False,
        difficult: bool = False,
        area: float | None = None,
    ) -> None:
        """Append one object."""
        self.boxes.append(box)
        self.labels.append(label)
        self.places.append(place)
        self.crowd.append(crowd)
        self.difficult.append(difficult)
        self.areas.append(area)

    def add_missing(self, other: RawImage) -> None:
        """Append the objects of another entry of the same picture that this one lacks."""
        own = set(zip(self.boxes, self.labels, strict=True))
        for index, (box, label) in enumerate(zip(other.boxes, other.labels, strict=True)):
            if (box, label) not in own:
                self.add(
                    box,
                    label,
                    other.places[index],
                    crowd=other.crowd[index],
                    difficult=other.difficult[index],
                    area=other.areas[index],
                )


@dataclass
class RawData:
    """Parsed annotations of a data set; see :class:`ghostyolo.data.records.DetectionData`."""

    root: Path
    layout: str
    class_names: list[str]
    splits: dict[str, list[RawImage]]


def merge_entries(images: Iterable[RawImage], faults: FaultList, split: str) -> list[RawImage]:
    """Make one of all entries of a picture, with all its boxes."""
    merged: dict[str, RawImage] = {}
    times: dict[str, int] = {}
    for image in images:
        key = os.path.abspath(image.path)
        times[key] = times.get(key, 0) + 1
        if key not in merged:
            merged[key] = image
        else:
            merged[key].add_missing(image)
    for key, count in times.items():
        if count > 1:
            faults.report("listed-twice", merged[key].path, f"is listed {count} times in {split}", split, count - 1)
    return list(merged.values())


def build_data(raw: RawData, faults: FaultList) -> DetectionData:
    """Open every picture's header, make records, and judge the splits.

    Args:
        raw: of any reader, a file once in each split.
        faults: the list to add to; the data set keeps it.
    """
    splits = {}
    owner: dict[str, str] = {}
    deep: list[Path] = []
    for split, images in raw.splits.items():
        tally = _Tally()
        records = [build_record(image, faults, split, tally) for image in images]
        deep += tally.deep
        splits[split] = [record for record in records if record is not None]
        for record in splits[split]:
            first = owner.setdefault(os.path.abspath(record.path), split)
            if first != split:
                faults.report("image-in-two-splits", record.path, f"is listed in {first} and in {split}", split)
        _judge(raw, split, splits[split], tally, faults)
    pixel_range = None
    if deep:
        pixel_range = common_range(deep)
        has_range = frozenset(deep)
        splits = {
            split: [replace(item, pixel_range=pixel_range) if item.path in has_range else item for item in records]
            for split, records in splits.items()
        }
    return DetectionData(raw.root, raw.layout, raw.class_names, splits, faults, pixel_range)


@dataclass
class _Tally:
    boxes: int = 0
    clipped: int = 0
    corners: int = 0
    deep: list[Path] = field(default_factory=list)


def build_record(raw: RawImage, faults: FaultList, split: str, tally: _Tally | None = None) -> ImageRecord | None:
    """Open the picture's header and put the boxes into its pixels.

    They are clipped; those without area are dropped.

    Returns:
        None when the picture is missing, cannot be read or is not what was annotated; that is reported.
    """
    try:
        info = read_image_info(raw.path)
    except DataError as error:
        kind = "unreadable-image" if os.path.exists(raw.path) else "missing-image"
        message = "no such picture" if kind == "missing-image" else without_path(str(error), raw.path)
        faults.report(kind, raw.path, message, split)
        return None
    if info.frames > 1:
        message = f"has {info.frames} pictures in one file"
        faults.report("further-frames", raw.path, message, split, info.frames - 1)
    tally = tally or _Tally()
    if info.deep:
        tally.deep.append(raw.path)
    boxes = np.array(raw.boxes, np.float64).reshape(-1, 4)
    sides = (info.width, info.height, info.width, info.height)
    scale = 1.0
    if raw.normalised:
        boxes = boxes * sides
    elif raw.written_size not in (None, info.size):
        fitted = _fit_to_file(raw, boxes, info, faults, split)
        if fitted is None:
            return None
        boxes, scale = fitted
    clipped = np.clip(boxes, 0, sides)
    keep = np.all(clipped[:, 2:] - clipped[:, :2] > MIN_SIDE, axis=1)
    if len(boxes):
        _report_boxes(raw, boxes, clipped, keep, faults, split, tally)
    else:
        faults.report("image-without-objects", raw.path, "has no objects", split)
    difficult = np.array(raw.difficult, np.bool_)
    stated = np.array([math.nan if area is None else area for area in raw.areas], np.float64) * scale
    own = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1)
    return ImageRecord(
        path=raw.path,
        width=info.width,
        height=info.height,
        boxes_xyxy=clipped[keep].astype(np.float32),
        labels=np.array(raw.labels, np.int64)[keep],
        ignore=(np.array(raw.crowd, np.bool_) | difficult)[keep],
        image_id=raw.image_id,
        difficult=difficult[keep] if difficult.any() else None,
        area=np.where(np.isnan(stated), own, stated)[keep] if not np.isnan(stated).all() else None,
    )


def _fit_to_file(
    raw: RawImage, boxes: Boxes, info: ImageInfo, faults: FaultList, split: str
) -> tuple[Boxes, float] | None:
    """Return the boxes in pixels of the file and the factor of areas, or None where nobody can tell."""
    written = raw.written_size or info.size
    message = f"is {info.width}x{info.height}, {raw.source.name} says {written[0]}x{written[1]}"
    scale_x, scale_y = info.width / written[0], info.height / written[1]
    corners = boxes[:, 2:]
    in_file = bool(np.all(corners <= np.array(info.size) + OUTSIDE_TOLERANCE))
    in_written = bool(np.all(corners <= np.array(written) + OUTSIDE_TOLERANCE))
    # A side that was rounded to whole pixels may be one off.
    same_aspect = abs(info.width - written[0] * scale_y) <= 1 or abs(info.height - written[1] * scale_x) <= 1
    swapped = written == (info.height, info.width)
    if in_file and (not in_written or not len(boxes) or not (same_aspect or swapped)):
        message += ": its boxes are taken to be of the file's size"
    elif info.orientation >= 5 and written == info.stored_size:
        boxes, message = turn_boxes(boxes, info), message + ", its size before EXIF turns it: boxes turned"
    elif same_aspect:
        boxes, message = boxes * (scale_x, scale_y, scale_x, scale_y), message + f": boxes scaled by {scale_x:.4g}"
        faults.report("size-mismatch", raw.path, message, split)
        return boxes, scale_x * scale_y
    else:
        faults.report("wrong-size", raw.path, f"{message}: where its boxes belong cannot be told", split)
        return None
    faults.report("size-mismatch", raw.path, message, split)
    return boxes, 1.0


def turn_boxes(boxes: Boxes, info: ImageInfo) -> Boxes:
    """Map (M, 4) boxes from stored pixels to upright ones."""
    if info.orientation in (5, 6, 7, 8):
        boxes = boxes[:, [1, 0, 3, 2]]
    if info.orientation in (2, 3, 6, 7):
        boxes = np.stack([info.width - boxes[:, 2], boxes[:, 1], info.width - boxes[:, 0], boxes[:, 3]], axis=1)
    if info.orientation in (3, 4, 7, 8):
        boxes = np.stack([boxes[:, 0], info.height - boxes[:, 3], boxes[:, 2], info.height - boxes[:, 1]], axis=1)
    return boxes


def _report_boxes(
    raw: RawImage,
    boxes: Boxes,
    clipped: Boxes,
    keep: npt.NDArray[np.bool_],
    faults: FaultList,
    split: str,
    tally: _Tally,
) -> None:
    outside = np.any(np.abs(boxes - clipped) > OUTSIDE_TOLERANCE, axis=1)
    empty = np.any(boxes[:, 2:] - boxes[:, :2] <= MIN_SIDE, axis=1)
    for index in np.flatnonzero(empty | ~keep | outside).tolist():
        corners = ", ".join(f"{value:.6g}" for value in boxes[index])
        if empty[index] or not outside[index]:
            faults.report("zero-area-box", raw.source, f"{raw.places[index]}: no area ({corners} pixels)", split)
        else:
            leaves = "leaves" if keep[index] else "lies outside of"
            message = f"{raw.places[index]}: {leaves} {raw.path.name} ({corners} pixels)"
            faults.report("box-outside", raw.source, message, split)
    for index in duplicate_boxes(clipped, np.array(raw.labels, np.int64)):
        if keep[index]:
            faults.report("duplicate-box", raw.source, f"{raw.places[index]}: same box and class as before", split)
    tally.boxes += len(boxes)
    tally.clipped += int(outside.sum())
    start = (boxes[:, :2] + boxes[:, 2:]) / 2 if raw.normalised else boxes[:, :2]
    tally.corners += int(np.all(boxes[:, 2:] - boxes[:, :2] > start, axis=1).sum())


def _judge(raw: RawData, split: str, records: Sequence[ImageRecord], tally: _Tally, faults: FaultList) -> None:
    """Report what is wrong with a split as a whole."""
    images = raw.splits[split]
    if not images:
        if not any(fault.split == split for fault in faults):
            faults.report("missing-split", raw.root, f"{split} has no pictures", split)
        return
    counts = np.zeros(len(raw.class_names), np.int64)
    ignored = 0
    for record in records:
        ignored += int(record.ignore.sum())
        np.add.at(counts, record.labels[~record.ignore], 1)
    bare = [image for image in images if not image.boxes]
    cause = _cause_of_bare(bare, raw.layout, faults, split)
    if not counts.any() and split != "test":
        only = f", all {ignored} objects are crowd or difficult" if ignored else ""
        message = f"{split} has no box in {len(images)} pictures{only}{cause}"
        faults.report("no-objects", raw.root, message, split, len(images))
    elif len(bare) > _USUAL_UNLABELLED * len(images):
        message = f"{len(bare)} of {len(images)} pictures of {split} have no label{cause}"
        faults.report("many-unlabelled", raw.root, message, split, len(bare))
    if tally.clipped > _USUAL_CLIPPED * tally.boxes:
        message = f"{tally.clipped} of {tally.boxes} boxes of {split} leave their picture"
        if tally.corners == tally.boxes:
            message += ": they look like two corners (x1 y1 x2 y2), not like a place and a size"
        faults.report("many-clipped", raw.root, message, split, tally.clipped)
    missing = [name for name, count in zip(raw.class_names, counts, strict=True) if count == 0]
    if missing and counts.any():
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        message = f"{split} has no object of {len(missing)} of {len(raw.class_names)} classes: {names}"
        faults.report("class-without-objects", raw.root, message, split, len(missing))


def _cause_of_bare(bare: Sequence[RawImage], layout: str, faults: FaultList, split: str) -> str:
    causes = []
    unfound = [image for image in bare if layout == "yolo" and not os.path.exists(image.source)]
    if unfound:
        causes.append(f"{len(unfound)} have no label file, such as {unfound[0].source}")
    orphans = sum(fault.kind == "labels-without-image" and fault.split == split for fault in faults)
    if orphans:
        causes.append(f"{orphans} label files fit no picture")
    return f": {', '.join(causes)}" if causes else ""


def report_passed(listing: Listing, folder: Path, faults: FaultList, split: str = "") -> None:
    """Report what a listing of pictures passed over."""
    passed = listing.passed.copy()
    hidden = passed.pop("hidden", 0)
    if hidden:
        faults.report("hidden-files", folder, f"{hidden} hidden pictures", split, hidden)
    if passed.total():
        faults.report("not-read", folder, describe_passed(passed), split, passed.total())


def report_left_over(
    folder: Folder, splits: Mapping[str, Sequence[RawImage]], faults: FaultList, reason: str = "have no annotation"
) -> None:
    """Count the pictures that no annotation names, and files passed over.

    Where one annotation file was given, only pictures beside those of the data set count.
    """
    listed = {os.path.abspath(image.path) for images in splits.values() for image in images}
    folders = {os.path.dirname(path) for path in listed}
    left = [path for path in folder.pictures if (place := os.path.abspath(path)) not in listed
            and (not folder.alone or os.path.dirname(place) in folders)]  # fmt: skip
    if left:
        message = f"{len(left)} pictures {reason}, such as {left[0].name}"
        faults.report("not-read", folder.root, message, "", len(left))
    if not folder.alone:
        report_passed(folder.listing, folder.root, faults)


def check_units(raw: RawData, faults: FaultList) -> None:
    """Report boxes in fractions where the layout has pixels."""
    for split, images in raw.splits.items():
        boxes = [box for image in images if not image.normalised for box in image.boxes]
        if boxes and max(map(max, boxes)) <= 1 and any(value % 1 for box in boxes for value in box):
            message = f"the {len(boxes)} boxes of {split} lie between 0 and 1: fractions, where {raw.layout} has pixels"
            faults.report("wrong-unit", images[0].source, message, split, len(boxes))


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


class Spellings:
    """Finds files whose names are spelled in another way."""

    def __init__(self) -> None:
        self._folders: dict[Path, Names] = {}

    def names(self, folder: Path) -> Names:
        """The names in a folder; none where there is no such folder."""
        if folder not in self._folders:
            self._folders[folder] = Names(os.listdir(folder) if os.path.isdir(folder) else ())
        return self._folders[folder]

    def find(self, path: Path) -> Path | None:
        """Return the file that is there, or None; Windows' slashes are understood."""
        for written in (path, Path(str(path).replace("\\", "/"))):
            name = self.names(written.parent).find(written.name)
            if name is not None:
                return written.parent / name
        return None


def all_finite(box: Sequence[float]) -> bool:
    """Whether none of the numbers is NaN or infinite."""
    return all(math.isfinite(value) for value in box)


def as_flag(value: Any) -> bool:
    """Whether an annotation's flag is set, which "0" and "false" are not."""
    return str(value if value is not None else 0).strip().lower() not in ("", "0", "0.0", "false", "no", "none")


def as_size(width: Any, height: Any) -> tuple[int, int] | None:
    """Return a written (width, height), or None where it is no size."""
    try:
        size = (int(float(width)), int(float(height)))
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def without_path(message: str, path: Path) -> str:
    """Cut the path off the front of an error's message.

    For a report that prints the path beside it.
    """
    return message.removeprefix(str(path)).lstrip(": ")


def choose_splits(offered: Sequence[str], wanted: Sequence[str] | None, where: Path) -> list[str]:
    """Return the wanted splits, or all.

    Raises:
        NoSplitError: a wanted one is not offered; the message names those that are.
    """
    if wanted is None:
        return list(offered)
    for name in wanted:
        if name not in offered:
            raise NoSplitError(f"{where} has no split '{name}': {suggest(name, offered)}")
    return list(dict.fromkeys(wanted))

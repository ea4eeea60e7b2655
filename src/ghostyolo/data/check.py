"""Finds what is wrong with a data set, and writes a clean copy.

The annotations are parsed by the same readers as for training; in addition every picture is decoded, which
alone finds truncated files, and its pixels are hashed, which finds one picture under two names.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.data.faults import Fault, FaultList
from ghostyolo.data.formats.load import read_raw
from ghostyolo.data.formats.raw import RawImage, build_data, duplicate_boxes, without_path
from ghostyolo.data.formats.write import write_dataset
from ghostyolo.data.images import read_image
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import DataError

# A picture in several splits stays in the first of these in a clean copy, so figures on them stay comparable.
_KEEP_FIRST = ("test", "val")
# Boxes of two copies of a picture whose corners are no further apart, in pixels, are one.
_SAME_BOX = 0.5


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        data: the data set without the pictures that cannot be used; boxes clipped.
        groups: (split, picture) of those with equal pixels, the one to keep first.
    """

    data: DetectionData
    groups: list[list[tuple[str, ImageRecord]]]

    @property
    def problems(self) -> list[Fault]:
        """Every fault, in the order of the files."""
        return self.data.faults

    def count(self, level: str) -> int:
        """Number of problems of a level: ``"error"``, ``"warning"`` or ``"info"``."""
        return sum(problem.level == level for problem in self.problems)

    def objects(self, split: str) -> dict[str, int]:
        """Objects of each class in a split; crowds and difficult ones are not counted."""
        labels = [record.labels[~record.ignore] for record in self.data.splits[split]]
        counts = Counter(label for part in labels for label in part.tolist())
        return {name: counts[label] for label, name in enumerate(self.data.class_names)}

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        splits = {}
        for split, records in self.data.splits.items():
            classes = self.objects(split)
            splits[split] = {
                "images": len(records),
                "objects": sum(classes.values()),
                "images_without_objects": sum(len(record.labels) == 0 for record in records),
                "classes": classes,
            }
        return {
            "root": str(self.data.root),
            "layout": self.data.layout,
            "class_names": self.data.class_names,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "splits": splits,
            "problems": [
                {
                    "level": problem.level,
                    "kind": problem.kind,
                    "split": problem.split,
                    "path": str(problem.path),
                    "message": problem.message,
                    "count": problem.count,
                }
                for problem in self.problems
            ],
        }


def check_dataset(path: str | PathLike[str], progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Look at every label and every picture of a data set; changes nothing.

    Args:
        path: as for :func:`ghostyolo.data.formats.load_dataset`.
        progress: called with (pictures done, pictures in all).

    Raises:
        DataError: there is no data set to check: missing, empty, of no known layout, or badly described.
    """
    faults = FaultList()
    raw = read_raw(path, None, faults)
    pairs = [(split, image) for split, images in raw.splits.items() for image in images]
    if not pairs:
        raise DataError(f"{path} is an empty data set: it names no picture{_first(faults)}")
    readable: dict[str, list[RawImage]] = {split: [] for split in raw.splits}
    digest_of: dict[Path, bytes] = {}
    looked = look_at_pictures([image.path for _, image in pairs])
    for done, ((split, image), (size, digest, fault)) in enumerate(zip(pairs, looked, strict=True), start=1):
        if size is None:
            kind = "unreadable-image" if os.path.exists(image.path) else "missing-image"
            faults.report(kind, image.path, fault, split)
        else:
            readable[split].append(image)
            digest_of[image.path] = digest
        if progress is not None:
            progress(done, len(pairs))
    data = build_data(replace(raw, splits=readable), faults)
    groups: dict[bytes, list[tuple[str, ImageRecord]]] = {}
    for split, records in data.splits.items():
        for record in records:
            groups.setdefault(digest_of[record.path], []).append((split, record))
    return CheckReport(data, [_report_repeated(group, faults) for group in groups.values()])


def write_clean_copy(report: CheckReport, out: str | PathLike[str]) -> DetectionData:
    """Write the usable part of a checked data set in YOLO layout.

    Left out: pictures that cannot be decoded, labels that cannot be read, boxes without area, repeated
    boxes and repeated pictures (test keeps one before val, val before the others), whose boxes the kept one gets.
    Boxes are clipped.

    Raises:
        DataError: nothing usable is left.
        OutputError: ``out`` is not empty or cannot be written.
    """
    splits: dict[str, list[ImageRecord]] = {}
    for split in report.data.splits:
        kept = [_with_all_boxes(group) for group in report.groups if group[0][0] == split]
        if kept:
            splits[split] = kept
    if not splits:
        raise DataError(f"{report.data.root}: no usable picture is left to write")
    return write_dataset(replace(report.data, splits=splits), out, "yolo")


def look_at_pictures(paths: Sequence[Path]) -> Iterable[tuple[tuple[int, int] | None, bytes, str]]:
    """Yield size, :func:`pixel_digest` and fault of each picture, in order.

    Several are decoded at a time.
    """

    def look(path: Path) -> tuple[tuple[int, int] | None, bytes, str]:
        try:
            if path.suffix.lower() == ".npy":
                pixels = np.load(path, allow_pickle=False)
            else:
                pixels = read_image(path)
        except (DataError, ValueError, OSError) as error:
            if not os.path.exists(path):
                return None, b"", "no such picture"
            return None, b"", without_path(str(error), path)
        return (pixels.shape[1], pixels.shape[0]), pixel_digest(pixels), ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and hashing release the interpreter's lock
        yield from pool.map(look, paths)


def pixel_digest(pixels: npt.NDArray[Any]) -> bytes:
    """Hash a picture's shape and pixels.

    Equal for the same picture under two names or in two formats.
    """
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def _first(faults: FaultList) -> str:
    return f" ({faults[0]})" if faults else ""


def _report_repeated(group: list[tuple[str, ImageRecord]], faults: FaultList) -> list[tuple[str, ImageRecord]]:
    """Report pictures with equal pixels and return them, the one to keep first."""

    def rank(place: tuple[str, ImageRecord]) -> tuple[int, bool]:
        split, record = place
        return _KEEP_FIRST.index(split) if split in _KEEP_FIRST else len(_KEEP_FIRST), not len(record.labels)

    (kept_split, kept), *others = group = sorted(group, key=rank)
    for split, record in others:
        if os.path.abspath(record.path) == os.path.abspath(kept.path):
            continue  # the reader has reported it
        if split == kept_split:
            faults.report("duplicate-image", record.path, f"is the same picture as {kept.path.name}", split)
        else:
            message = f"in {split} is the same picture as {kept.path.name} in {kept_split}"
            faults.report("image-in-two-splits", record.path, message, split)
    return group


def _with_all_boxes(group: list[tuple[str, ImageRecord]]) -> ImageRecord:
    """Return the picture to keep with its own boxes and those that only its copies have, each once."""
    kept = _without_repeated_boxes(group[0][1])
    for _, copy in group[1:]:
        copy = _without_repeated_boxes(copy)
        distance = np.abs(copy.boxes_xyxy[:, None] - kept.boxes_xyxy[None]).max(axis=2)
        same = (distance <= _SAME_BOX) & (copy.labels[:, None] == kept.labels[None])
        kept = kept.joined(copy.take(~same.any(axis=1)))
    return kept


def _without_repeated_boxes(record: ImageRecord) -> ImageRecord:
    keep = np.ones(len(record.labels), np.bool_)
    keep[duplicate_boxes(record.boxes_xyxy, record.labels)] = False
    return record.take(keep)

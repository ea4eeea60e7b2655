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

from ghostyolo.data.formats.load import read_raw
from ghostyolo.data.formats.raw import (
    Problem,
    Reporter,
    build_record,
    duplicate_boxes,
    without_path,
)
from ghostyolo.data.formats.write import write_dataset
from ghostyolo.data.images import read_image
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import DataError

# A picture in several splits stays in the first of these in a clean copy, so figures on them stay comparable.
_KEEP_FIRST = ("test", "val")


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        data: the data set without the pictures that cannot be used; boxes clipped.
        problems: every fault, in the order of the files.
        repeated: pictures that occur again elsewhere, left out of a clean copy.
    """

    data: DetectionData
    problems: list[Problem]
    repeated: frozenset[tuple[str, Path]]

    def count(self, level: str) -> int:
        """Number of problems of a level: ``"error"``, ``"warning"`` or ``"info"``."""
        return sum(problem.level == level for problem in self.problems)

    def objects(self, split: str) -> dict[str, int]:
        """Objects of each class in a split, by name."""
        found = Counter(label for record in self.data.splits[split] for label in record.labels.tolist())
        return {name: found[label] for label, name in enumerate(self.data.class_names)}

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
    reporter = Reporter(strict=False)
    raw = read_raw(Path(path), None, reporter)
    pairs = [(split, image) for split, images in raw.splits.items() for image in images]
    if not pairs:
        raise DataError(f"{path} is an empty data set: it names no picture")
    splits: dict[str, list[ImageRecord]] = {split: [] for split in raw.splits}
    seen: dict[bytes, list[tuple[str, Path]]] = {}
    looked = look_at_pictures([image.path for _, image in pairs])
    for done, ((split, image), (size, digest, fault)) in enumerate(zip(pairs, looked, strict=True), start=1):
        if fault:
            kind = "unreadable-image" if image.path.exists() else "missing-image"
            reporter.report(kind, image.path, fault, split)
        record = build_record(image, reporter, split, size) if size is not None else None
        if record is not None:
            splits[split].append(record)
            seen.setdefault(digest, []).append((split, image.path))
            if not image.boxes:
                reporter.report("image-without-objects", image.path, "has no objects", split)
        if progress is not None:
            progress(done, len(pairs))
    repeated = frozenset(_report_repeated(seen.values(), reporter))
    data = DetectionData(raw.root, raw.layout, raw.class_names, splits)
    report = CheckReport(data, reporter.problems, repeated)
    for split in splits:
        missing = [name for name, count in report.objects(split).items() if count == 0]
        if missing:
            names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            message = f"{split} has no object of {len(missing)} of {len(raw.class_names)} classes: {names}"
            reporter.report("class-without-objects", raw.root, message, split)
    return report


def write_clean_copy(report: CheckReport, out: str | PathLike[str]) -> DetectionData:
    """Write the usable part of a checked data set in YOLO layout.

    Left out: pictures that cannot be decoded, labels that cannot be read, boxes without area, repeated
    boxes and repeated pictures (test keeps one before val, val before the others). Boxes are clipped.

    Raises:
        DataError: nothing usable is left.
        OutputError: ``out`` is not empty or cannot be written.
    """
    splits: dict[str, list[ImageRecord]] = {}
    for split, records in report.data.splits.items():
        kept = [_without_repeated_boxes(item) for item in records if (split, item.path) not in report.repeated]
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
            if not path.exists():
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


def _report_repeated(groups: Iterable[list[tuple[str, Path]]], reporter: Reporter) -> Iterable[tuple[str, Path]]:
    """Report pictures with equal pixels and yield all but the one to keep of each."""

    def rank(place: tuple[str, Path]) -> int:
        return _KEEP_FIRST.index(place[0]) if place[0] in _KEEP_FIRST else len(_KEEP_FIRST)

    for group in groups:
        keep, *others = sorted(group, key=rank)
        for split, path in others:
            if split == keep[0]:
                reporter.report("duplicate-image", path, f"is the same picture as {keep[1].name}", split)
            else:
                message = f"in {split} is the same picture as {keep[1].name} in {keep[0]}"
                reporter.report("image-in-two-splits", path, message, split)
            yield split, path


def _without_repeated_boxes(record: ImageRecord) -> ImageRecord:
    keep = np.ones(len(record.labels), np.bool_)
    keep[duplicate_boxes(record.boxes_xyxy, record.labels)] = False
    return replace(record, boxes_xyxy=record.boxes_xyxy[keep], labels=record.labels[keep], ignore=record.ignore[keep])

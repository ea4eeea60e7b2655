"""Converts a data set to another layout and counts what arrived.

No torch.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats import load_dataset, write_dataset
from ghostyolo.data.formats import parquet_objects as parquet
from ghostyolo.data.formats.folder import Folder
from ghostyolo.data.formats.load import asked_layout, check_names
from ghostyolo.data.formats.raw import build_data
from ghostyolo.data.formats.write import LAYOUTS, refuse_full_folder
from ghostyolo.data.records import DetectionData
from ghostyolo.errors import ConfigError, OutputError, suggest
from ghostyolo.files import staged

TARGETS = (*LAYOUTS, "parquet")
Counts = dict[str, tuple[int, dict[str, int]]]


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        source: the data set that was read.
        counts: of each split, its pictures and its boxes by class, as they were read again from the result.
        notes: what the layout cannot say, with numbers.
    """

    source: DetectionData
    counts: Counts
    notes: list[str]


def convert_dataset(path: str | PathLike[str], out: str | PathLike[str], layout: str) -> Converted:
    """Write a data set into a new folder in another layout.

    The result is read again and counted.

    Args:
        path: as for :func:`ghostyolo.data.formats.load_dataset`; also Parquet files with boxes.
        out: the new folder; it appears when the result was read and has every picture, box and class.
        layout: one of :data:`TARGETS`.

    Raises:
        ConfigError: unknown layout.
        DataError: the data cannot be read, see :func:`ghostyolo.data.formats.load_dataset`.
        OutputError: the folder is not empty or cannot be written, or the result is not what was read.
    """
    if layout not in TARGETS:
        raise ConfigError(f"unknown layout '{layout}': {suggest(layout, TARGETS)}")
    out = Path(out)
    refuse_full_folder(out)
    with staged(out) as place, tempfile.TemporaryDirectory(prefix=".pictures-", dir=place.parent) as room:
        data = _read(path, Path(room))
        kept, notes = _holdable(data, layout)
        if layout == "parquet":
            parquet.write(place, data.class_names, data.splits)
            counts = parquet.count(sorted((place / "data").glob("*.parquet")))
        else:
            counts = _count(load_dataset(write_dataset(data, place, layout).root))
        expected = _count(kept)
        for split in expected.keys() | counts.keys():
            if expected.get(split) != counts.get(split):
                raise OutputError(f"{path}: {layout} does not hold {split} as it is: {_text(expected.get(split))} were "
                                  f"written, {_text(counts.get(split))} are read again")  # fmt: skip
    return Converted(data, counts, notes)


def _read(path: str | PathLike[str], room: Path) -> DetectionData:
    layout, place = asked_layout(path)
    folder = Folder(place) if place.exists() else None
    if folder is None or layout not in ("", "parquet") or not (files := parquet.find(folder)):
        return load_dataset(path)
    faults = FaultList()
    raw = parquet.unpack(files, room, faults)
    check_names(raw, path)
    faults.refuse()
    return build_data(raw, faults)


def _holdable(data: DetectionData, layout: str) -> tuple[DetectionData, list[str]]:
    """Return what of a data set a layout can hold, and a line for what it cannot."""
    records = [record for group in data.splits.values() for record in group]
    crowds = sum(int(record.crowd.sum()) for record in records)
    difficult = sum(int((record.ignore & ~record.crowd).sum()) for record in records)
    notes = []
    if layout == "yolo":
        splits = {split: [record.take(~record.crowd) for record in group] for split, group in data.splits.items()}
        notes += [f"{crowds} crowds are left out: YOLO labels cannot mark them"] * bool(crowds)
        notes += [f"{difficult} difficult objects are objects like others: YOLO labels cannot mark them"] * bool(
            difficult
        )
        return replace(data, splits=splits), notes
    if layout == "coco" and difficult:
        notes.append(f"{difficult} difficult objects are marked iscrowd")
    if layout == "voc" and crowds:
        notes.append(f"{crowds} crowds are marked difficult")
    return data, notes


def _count(data: DetectionData) -> Counts:
    counts: Counts = {}
    for split, records in data.splits.items():
        labels = Counter(label for record in records for label in record.labels.tolist())
        counts[split] = (len(records), {name: labels[index] for index, name in enumerate(data.class_names)})
    return counts


def _text(count: tuple[int, dict[str, int]] | None) -> str:
    pictures, classes = count or (0, {})
    return f"{pictures} pictures with {sum(classes.values())} boxes of {len(classes)} classes"

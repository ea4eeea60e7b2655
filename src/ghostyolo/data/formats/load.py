"""Find out which layout a data set has by looking, and read it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats import coco, voc, yolo
from ghostyolo.data.formats.raw import RawData, build_data, check_units
from ghostyolo.data.listing import is_hidden
from ghostyolo.data.records import DetectionData
from ghostyolo.errors import DataError
from ghostyolo.text import TextError, printable

_LOOKED_FOR = "data.yaml (YOLO), annotations/*.json or */_annotations.coco.json (COCO), Annotations/*.xml (Pascal VOC)"


def load_dataset(path: str | PathLike[str], splits: Sequence[str] | None = None) -> DetectionData:
    """Read a data set of any layout.

    Args:
        path: its folder, its data.yaml, a COCO JSON or the folder of such, or a VOC root.
        splits: names of those wanted; None for all.

    Returns:
        Records with boxes in pixels, clipped to the picture and with an area. What was mended or left out is in
        ``faults``.

    Raises:
        DataError: no data set there, of no known layout, without a single picture, an unknown split, or a
            label that cannot be trusted (its file and line are named).
    """
    faults = FaultList()
    raw = read_raw(Path(path), splits, faults)
    faults.refuse()
    data = build_data(raw, faults)
    first = f" ({faults.skipped[0][0]}: {faults.skipped[0][1]})" if faults.skipped else ""
    if not any(data.splits.values()):
        raise DataError(f"{path} is an empty data set: it has no picture that can be read{first}")
    read_splits = {split: records for split, records in data.splits.items() if records}
    for split in splits or ():
        if split not in read_splits:
            raise DataError(f"{path}: the split '{split}' has no picture that can be read{first}")
    return replace(data, splits=read_splits)


def load_split(path: str | PathLike[str], split: str) -> DetectionData:
    """Read one split to score on, and log what is wrong with it.

    Raises:
        DataError: see :func:`load_dataset`, or the split has no box.
    """
    data = load_dataset(path, splits=[split])
    data.warn()
    data.require_objects(split)
    return data


def read_raw(path: Path, splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Detect the layout and parse the annotations, without opening pictures.

    Raises:
        DataError: see :func:`load_dataset`; labels that cannot be trusted are in ``faults``.
    """
    try:
        raw = _read_any(path, splits, faults)
    except TextError as error:
        raise DataError(str(error)) from error
    raw.class_names = [name.strip() for name in raw.class_names]
    for index, name in enumerate(raw.class_names):
        if not name or printable(name) != name:
            raise DataError(f"{path}: '{printable(name)}' is no name of a class: give it letters that can be shown")
        if raw.class_names.index(name) != index:
            raise DataError(f"{path}: two classes are named '{name}': rename one")
    check_units(raw, faults)
    return raw


def _read_any(path: Path, splits: Sequence[str] | None, faults: FaultList) -> RawData:
    if not os.path.exists(path):
        raise DataError(f"{path} does not exist: give the folder of a data set, its data.yaml or its COCO JSON")
    if path.is_file():
        if path.suffix in (".yaml", ".yml"):
            return yolo.read(path, splits, faults)
        if path.suffix == ".json":
            folder = path.parent
            root = folder.parent if folder.name == "annotations" or path.name.startswith("_anno") else folder
            return coco.read(coco.by_split([path]), root, splits, faults)
        raise DataError(f"{path} is not a data set: give its folder, its data.yaml or its COCO JSON")
    raw = _read_folder(path, splits, faults)
    if raw is None:
        # An unpacked archive is often one folder in another.
        inner = [entry for entry in path.iterdir() if entry.is_dir() and not is_hidden(entry.name)]
        raw = _read_folder(inner[0], splits, faults) if len(inner) == 1 else None
    if raw is None:
        if not any(path.iterdir()):
            raise DataError(f"{path} is an empty folder")
        raise DataError(f"{path} has none of the layouts known; looked for {_LOOKED_FOR}")
    return raw


def _read_folder(folder: Path, splits: Sequence[str] | None, faults: FaultList) -> RawData | None:
    data_yaml = yolo.find(folder)
    if data_yaml is not None:
        return yolo.read(data_yaml, splits, faults)
    files = coco.find(folder)
    if files is not None:
        return coco.read(files, folder.parent if folder.name == "annotations" else folder, splits, faults)
    for root in (folder, folder.parent) if folder.name == "Annotations" else (folder,):
        if voc.find(root):
            return voc.read(root, splits, faults)
    return None

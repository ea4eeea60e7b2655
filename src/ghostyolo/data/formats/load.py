"""Find out which layout a data set has by looking, and read it."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from ghostyolo.data.formats import coco, voc, yolo
from ghostyolo.data.formats.raw import RawData, Reporter, build_record
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import DataError

_LOOKED_FOR = "data.yaml (YOLO), annotations/*.json or */_annotations.coco.json (COCO), Annotations/*.xml (Pascal VOC)"
_SKIPPED = frozenset(("unreadable-image", "missing-image", "missing-split"))


def load_dataset(path: str | PathLike[str], splits: Sequence[str] | None = None) -> DetectionData:
    """Read a data set of any layout.

    Args:
        path: its folder, its data.yaml, a COCO JSON or the folder of such, or a VOC root.
        splits: names of those wanted; None for all.

    Returns:
        Records with boxes in pixels, clipped to the picture and with an area. Pictures that are missing or
        unreadable are in ``skipped``.

    Raises:
        DataError: no data set there, of no known layout, without a single picture, an unknown split, or a
            label that cannot be trusted (its file and line are named).
    """
    reporter = Reporter(strict=True)
    raw = read_raw(Path(path), splits, reporter)
    read_splits: dict[str, list[ImageRecord]] = {}
    for split, images in raw.splits.items():
        records = (build_record(image, reporter, split) for image in images)
        read_splits[split] = [record for record in records if record is not None]
    skipped = [(fault.path, fault.message) for fault in reporter.problems if fault.kind in _SKIPPED]
    first = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
    if not any(read_splits.values()):
        raise DataError(f"{path} is an empty data set: it has no picture that can be read{first}")
    read_splits = {split: records for split, records in read_splits.items() if records}
    for split in splits or ():
        if split not in read_splits:
            raise DataError(f"{path}: the split '{split}' has no picture that can be read{first}")
    return DetectionData(raw.root, raw.layout, raw.class_names, read_splits, skipped)


def read_raw(path: Path, splits: Sequence[str] | None, reporter: Reporter) -> RawData:
    """Detect the layout and parse the annotations, without opening pictures.

    Raises:
        DataError: see :func:`load_dataset`.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist: give the folder of a data set, its data.yaml or its COCO JSON")
    if path.is_file():
        if path.suffix in (".yaml", ".yml"):
            return yolo.read(path, splits, reporter)
        if path.suffix == ".json":
            folder = path.parent
            root = folder.parent if folder.name == "annotations" or path.name.startswith("_anno") else folder
            return coco.read({coco.split_of(path): path}, root, splits, reporter)
        raise DataError(f"{path} is not a data set: give its folder, its data.yaml or its COCO JSON")
    raw = _read_folder(path, splits, reporter)
    if raw is None:
        # An unpacked archive is often one folder in another.
        inner = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        raw = _read_folder(inner[0], splits, reporter) if len(inner) == 1 else None
    if raw is None:
        if not any(path.iterdir()):
            raise DataError(f"{path} is an empty folder")
        raise DataError(f"{path} has none of the layouts known; looked for {_LOOKED_FOR}")
    return raw


def _read_folder(folder: Path, splits: Sequence[str] | None, reporter: Reporter) -> RawData | None:
    data_yaml = yolo.find(folder)
    if data_yaml is not None:
        return yolo.read(data_yaml, splits, reporter)
    files = coco.find(folder)
    if files is not None:
        return coco.read(files, folder.parent if folder.name == "annotations" else folder, splits, reporter)
    for root in (folder, folder.parent) if folder.name == "Annotations" else (folder,):
        if voc.find(root):
            return voc.read(root, splits, reporter)
    return None

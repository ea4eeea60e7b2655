"""Parquet files of pictures with boxes, as the Hugging Face hub stores them.

A row is a picture: ``image`` (its bytes and name), ``width``, ``height`` and ``objects``: lists of ``bbox`` ([x, y,
width, height] in pixels), ``category``, ``area``, ``iscrowd`` and ``difficult``. Class names are in the schema, where
the ``datasets`` library looks for them. Pictures inside such files cannot be trained on in place: :func:`unpack` makes
files of them, which ``ghostyolo data convert`` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.folder import Folder, split_named
from ghostyolo.data.formats.layout import Layout
from ghostyolo.data.formats.raw import RawData, RawImage, as_flag, as_size
from ghostyolo.data.images import IMAGE_SUFFIXES
from ghostyolo.data.listing import suffix_of
from ghostyolo.data.records import ImageRecord
from ghostyolo.errors import DataError
from ghostyolo.extras import require
from ghostyolo.files import atomic_path
from ghostyolo.text import printable

_ROWS = 64  # of a row group: what is in memory at a time


def find(folder: Folder) -> list[Path]:
    """Return the Parquet files, where there are no other pictures."""
    return [] if folder.pictures else folder.files(".parquet")


def read(folder: Folder, files: Sequence[Path], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Refuse, and say what to do: pictures must be files.

    Raises:
        DataError: always.
    """
    raise DataError(f"{files[0]} holds its pictures inside: `ghostyolo data convert {folder.given} --to yolo "
                    "--out FOLDER` makes files of them to train on")  # fmt: skip


def write(out: Path, class_names: Sequence[str], splits: Mapping[str, Sequence[ImageRecord]]) -> None:
    """Write ``data/SPLIT-00000-of-00001.parquet`` for each split.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OutputError: cannot be written.
    """
    require("parquet", "writing Parquet files")
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(pa, class_names)
    for split, records in splits.items():
        target = out / "data" / f"{split}-00000-of-00001.parquet"
        with atomic_path(target) as path, pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for start in range(0, len(records), _ROWS):
                rows = [_row(record, start + index) for index, record in enumerate(records[start : start + _ROWS])]
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def unpack(files: Sequence[Path], folder: Path, faults: FaultList) -> RawData:
    """Write the pictures of Parquet files into a folder, and return their boxes.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: a file is damaged, or has no pictures or boxes.
    """
    require("parquet", "reading Parquet files")
    names: list[str] = []
    splits: dict[str, list[RawImage]] = {}
    for file in files:
        split = split_named(_split_of(file)) or _split_of(file)
        names = names or _names_in(file)
        images = splits.setdefault(split, [])
        for number, row in _rows(file):
            images.append(_unpack_row(row, file, number, folder / split, len(images), len(names), faults, split))
    labels = [label for images in splits.values() for image in images for label in image.labels]
    names = names or [str(number) for number in range(max(labels, default=-1) + 1)]
    return RawData(folder, "parquet", names, splits)


def count(files: Sequence[Path]) -> dict[str, tuple[int, dict[str, int]]]:
    """Count the pictures of each split, and its boxes by class.

    No picture is opened.
    """
    counts: dict[str, tuple[int, dict[str, int]]] = {}
    for file in files:
        names = _names_in(file)
        pictures, boxes = 0, [0] * len(names)
        for _, row in _rows(file, ["objects"]):
            pictures += 1
            for category in row["objects"]["category"]:
                boxes[category] += 1
        counts[_split_of(file)] = (pictures, dict(zip(names, boxes, strict=True)))
    return counts


def _split_of(file: Path) -> str:
    """The split that a name such as ``train-00000-of-00002`` says."""
    return re.sub(r"-\d+-of-\d+$", "", file.stem) if "-of-" in file.stem else split_named(file.stem) or "train"


def _schema(pa: Any, class_names: Sequence[str]) -> Any:
    number, numbers = {"dtype": "int64", "_type": "Value"}, pa.list_(pa.int64())
    boxes = {"feature": {"dtype": "float32", "_type": "Value"}, "length": 4, "_type": "Sequence"}
    flag = {"dtype": "bool", "_type": "Value"}
    features = {
        "image": {"_type": "Image"},
        "image_id": number,
        "width": number,
        "height": number,
        "objects": {
            "feature": {
                "bbox": boxes,
                "category": {"names": list(class_names), "_type": "ClassLabel"},
                "area": {"dtype": "float64", "_type": "Value"},
                "iscrowd": flag,
                "difficult": flag,
            },
            "_type": "Sequence",
        },
    }
    objects = pa.struct(
        [
            ("bbox", pa.list_(pa.list_(pa.float32(), 4))),
            ("category", numbers),
            ("area", pa.list_(pa.float64())),
            ("iscrowd", pa.list_(pa.bool_())),
            ("difficult", pa.list_(pa.bool_())),
        ]
    )
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    sizes = [("image_id", pa.int64()), ("width", pa.int64()), ("height", pa.int64())]
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([("image", image), *sizes, ("objects", objects)], metadata=metadata)


def _row(record: ImageRecord, index: int) -> dict[str, Any]:
    x1, y1, x2, y2 = record.boxes_xyxy.T
    objects = {
        "bbox": np.stack([x1, y1, x2 - x1, y2 - y1], axis=1).tolist(),
        "category": record.labels.tolist(),
        "area": record.areas.tolist(),
        "iscrowd": record.crowd.tolist(),
        "difficult": (record.ignore & ~record.crowd).tolist(),
    }
    image = {"bytes": record.path.read_bytes(), "path": printable(record.path.name)}
    return {"image": image, "image_id": index, "width": record.width, "height": record.height, "objects": objects}


def _names_in(file: Path) -> list[str]:
    """The class names that the schema holds."""
    import pyarrow.parquet as pq

    try:
        features = json.loads((pq.read_schema(file).metadata or {})[b"huggingface"])["info"]["features"]
        objects = features["objects"]
        inner = objects.get("feature", objects)
        inner = inner[0] if isinstance(inner, list) else inner
        category = next(inner[key] for key in ("category", "categories", "label") if key in inner)
        return [str(name) for name in category.get("names") or category["feature"]["names"]]
    except (KeyError, ValueError, TypeError, AttributeError, StopIteration, OSError):
        return []


def _rows(file: Path, columns: list[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_ROWS, columns=columns):
            for row in batch.to_pylist():
                yield number, row
                number += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is damaged or no Parquet file ({str(error).splitlines()[0]})") from error


def _unpack_row(
    row: dict[str, Any], file: Path, number: int, folder: Path, index: int, classes: int, faults: FaultList, split: str
) -> RawImage:
    image, objects = row.get("image"), row.get("objects")
    if not isinstance(image, dict) or not isinstance(image.get("bytes"), bytes) or objects is None:
        raise DataError(f"{file}: row {number} has no image with bytes and objects: {', '.join(row)}")
    if isinstance(objects, list):  # a list of structs, as newer files have it
        objects = {key: [item.get(key) for item in objects] for key in (objects[0] if objects else {})}
    name = Path(str(image.get("path") or f"{number:06d}")).name
    suffix = suffix_of(name) if suffix_of(name) in IMAGE_SUFFIXES else ".jpg"
    path = folder / f"{index:06d}" / f"{Path(name).stem or number}{suffix}"
    with atomic_path(path) as temporary:
        temporary.write_bytes(image["bytes"])
    raw = RawImage(path, index, file, written_size=as_size(row.get("width"), row.get("height")))
    boxes = objects.get("bbox") or []
    categories: list[Any] = next((objects[key] for key in ("category", "categories", "label") if objects.get(key)), [])
    for position, box in enumerate(boxes):
        place = f"row {number}, object {position}"
        category = categories[position] if position < len(categories) else None
        if not isinstance(category, int) or category < 0 or (classes and category >= classes):
            faults.report("unknown-class", file, f"{place}: category {category} is not among the classes", split)
            continue
        x, y, width, height = (float(value) for value in box)
        raw.add((x, y, x + width, y + height), category, place, crowd=_at(objects, "iscrowd", position),
                difficult=_at(objects, "difficult", position), area=_area(objects, position))  # fmt: skip
    return raw


def _at(objects: dict[str, Any], key: str, position: int) -> bool:
    values = objects.get(key) or []
    return position < len(values) and as_flag(values[position])


def _area(objects: dict[str, Any], position: int) -> float | None:
    values = objects.get("area") or []
    area = values[position] if position < len(values) else None
    return float(area) if isinstance(area, int | float) and area > 0 else None


LAYOUT = Layout("parquet", "Parquet", "*.parquet of pictures with objects", find, read)

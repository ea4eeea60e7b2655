"""Parquet files of pictures and labels, as the Hugging Face hub stores them.

Each row has a picture's bytes and its label. No torch.

Splits go by file names (``train-00000-of-00002.parquet``, ``test.parquet``) or, where those are numbers, by folder
(``train/0000.parquet``). The picture is a column of bytes, or of structs with ``bytes``; the label one of integers or
text. Class names are those of the Hugging Face schema in the file, else of a ``classes.txt`` beside it, else the labels
themselves. All rows are held in memory, as they are compressed in their own picture formats.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ghostyolo.data.labelled import TRAIN_NAMES, VAL_NAMES, ClassificationData, LabelledImage, Selection
from ghostyolo.errors import DataError
from ghostyolo.extras import require

_LABELS = ("label", "labels", "fine_label", "class", "target")


class ParquetImages(Sequence[LabelledImage]):
    """The rows of some files, one after the other.

    Args:
        files: of the split.
        columns: of each file, the encoded pictures (Arrow binary).
        labels: (N,) of all rows.
    """

    def __init__(self, files: list[Path], columns: list[Any], labels: npt.NDArray[np.int64]) -> None:
        self.files, self.columns, self.labels = files, columns, labels
        self.source_names = [file.name for file in files]
        self._starts = np.cumsum([0, *(len(column) for column in columns)])

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> LabelledImage: ...
    @overload
    def __getitem__(self, index: slice) -> Selection: ...
    def __getitem__(self, index: int | slice) -> LabelledImage | Selection:
        if isinstance(index, slice):
            return Selection(self, np.arange(len(self))[index])
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        row = index - int(self._starts[part])
        file = self.files[part]
        encoded = self.columns[part][row].as_py() or b""
        return LabelledImage(file.with_name(f"{file.name}, row {row}"), int(self.labels[index]), encoded)

    def __iter__(self) -> Iterator[LabelledImage]:
        return (self[index] for index in range(len(self)))


def find(path: Path) -> list[Path]:
    """The Parquet files at a path: itself, or all below a folder."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    return sorted(path.rglob("*.parquet"))


def read(root: Path, files: list[Path], label_column: str | None = None) -> ClassificationData:
    """Read all rows of the files; pictures are decoded when they are needed.

    Args:
        label_column: needed where a file has none of the usual names.

    Raises:
        DataError: a damaged file, columns that cannot be told, or a label that cannot be trusted (file and row named).
    """
    require("parquet", "reading Parquet files")
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file, alone=len(files) == 1), []).append(file)
    chosen = {"train": next((name for name in TRAIN_NAMES if name in splits), None)}
    chosen["val"] = next((name for name in VAL_NAMES if name in splits), None)
    if chosen["train"] is None:
        raise DataError(f"{root} has no training split: its Parquet files are of {', '.join(sorted(splits))}")
    read_splits, names = {}, None
    for split, name in chosen.items():
        if name is not None:
            tables = [_read_file(file, label_column) for file in splits[name]]
            names = names or tables[0][2] or _names_beside(splits[name][0])
            read_splits[split] = (splits[name], tables)
    if names is None:
        values = {value for _, tables in read_splits.values() for table in tables for value in table[1]}
        names = _names_from(values - {None}, root)
    index = {name: position for position, name in enumerate(names)}
    data = {}
    for split, (paths, tables) in read_splits.items():
        labels = [
            _label(value, index, f"{file}, row {row}")
            for file, table in zip(paths, tables, strict=True)
            for row, value in enumerate(table[1])
        ]
        data[split] = ParquetImages(paths, [table[0] for table in tables], np.asarray(labels, np.int64))
    return ClassificationData(root, names, {split: images for split, images in data.items() if len(images)})


def _read_file(file: Path, label_column: str | None) -> tuple[Any, list[Any], list[str] | None]:
    """Encoded pictures, labels as they are stored, and the class names of the file's own schema."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is damaged or no Parquet file ({str(error).splitlines()[0]})") from error
    pictures = [
        field.name
        for field in table.schema
        if _is_bytes(field.type) or (pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]
    labels = [name for name in ([label_column] if label_column else _LABELS) if name in table.column_names]
    if len(pictures) != 1 or not labels:
        columns = ", ".join(f"{field.name} ({field.type})" for field in table.schema)
        wanted = f"a column '{label_column}'" if label_column else "a label; name it with label_column"
        raise DataError(f"{file} needs one column of pictures and {wanted}: it has {columns}")
    column = table.column(pictures[0])
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    return column, table.column(labels[0]).to_pylist(), _schema_names(table.schema, labels[0])


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _schema_names(schema: Any, column: str) -> list[str] | None:
    """Class names that the Hugging Face library wrote into the schema's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (KeyError, ValueError, TypeError):
        return None


def _names_beside(file: Path) -> list[str] | None:
    path = file.parent / "classes.txt"
    if not path.is_file():
        return None
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()] or None


def _names_from(values: set[Any], root: Path) -> list[str]:
    if all(isinstance(value, int) for value in values):
        return [str(number) for number in range(max(values, default=-1) + 1)]
    if all(isinstance(value, str) for value in values):
        return sorted(values)
    raise DataError(f"{root}: labels must be integers or text")


def _label(value: Any, index: dict[str, int], where: str) -> int:
    if isinstance(value, str) and value in index:
        return index[value]
    if isinstance(value, int) and 0 <= value < len(index):
        return value
    raise DataError(f"{where}: the label {value!r} is none of the {len(index)} classes")


def _split_of(file: Path, alone: bool) -> str:
    name = file.stem.partition("-")[0].lower()
    if name.isdigit():
        name = file.parent.name.lower()
    return "train" if alone and name not in VAL_NAMES else name

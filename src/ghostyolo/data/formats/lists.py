"""Layout of a split of another data set.

``split.yaml`` names the data set and a text file of pictures for each split.

``ghostyolo data split`` and training write it. Pictures are named by their paths from the data set's folder. Pictures
in no list are left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ghostyolo.config import parse_plain_yaml
from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.folder import Folder
from ghostyolo.data.formats.layout import Layout
from ghostyolo.data.formats.load import asked_layout, read_raw
from ghostyolo.data.formats.raw import RawData, RawImage, choose_splits
from ghostyolo.errors import ConfigError, DataError
from ghostyolo.text import printable, read_lines, read_text

SPLIT_FILE = "split.yaml"


def find(folder: Folder) -> list[Path]:
    """Return the ``split.yaml`` of the folder itself."""
    return [path for path in folder.named(SPLIT_FILE) if path.parent == folder.given]


def read(folder: Folder, files: Sequence[Path], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Read the data set and regroup its pictures, see :class:`ghostyolo.data.formats.layout.Layout`.

    Raises:
        DataError: the lists or the data set cannot be read, or a listed picture is not in it.
    """
    source = _content(files[0]).get("data")
    if not isinstance(source, str):
        raise DataError(f"{files[0]}: data: must name one data set")
    lists = read_lists(files[0])
    raw = read_raw(_place(source, files[0].parent), None, faults)
    image_of: dict[str, RawImage] = {}
    for images in raw.splits.values():
        for image in images:
            image_of.setdefault(picture_key(image.path, raw.root), image)
    read_splits = {}
    for split in choose_splits(list(lists), splits, files[0]):
        gone = [key for key in lists[split] if key not in image_of]
        if gone:
            raise DataError(f"{files[0]}: {len(gone)} pictures of {split} are not in {source}, such as {gone[0]}")
        # Ids of several splits may be equal.
        read_splits[split] = [replace(image_of[key], image_id=index) for index, key in enumerate(lists[split])]
    left = len(image_of.keys() - {key for keys in lists.values() for key in keys})
    if left and splits is None:
        faults.report("not-read", files[0], f"{left} pictures of {source} are in no list", "", left)
    return RawData(raw.root, raw.layout, raw.class_names, read_splits)


def read_lists(path: Path) -> dict[str, list[str]]:
    """Return the pictures of each split, as :func:`picture_key` names them.

    Raises:
        DataError: the file is damaged.
    """
    names = {key: value for key, value in _content(path).items() if key != "data"}
    if not names or not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"{path}: names no lists of pictures (train: train.txt ...)")
    return {split: [line for line in read_lines(path.parent / name) if line] for split, name in names.items()}


def picture_key(path: Path, root: Path) -> str:
    """Return a picture's path from the data set's folder, as lists hold it."""
    return printable(Path(os.path.relpath(path, root)).as_posix())


def _content(path: Path) -> dict[str, Any]:
    try:
        content = parse_plain_yaml(read_text(path))
    except (yaml.YAMLError, RecursionError, ConfigError) as error:
        raise DataError(f"{path} is not readable YAML") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no split: it needs data: and train:, val: or test:")
    return content


def _place(source: str, folder: Path) -> str:
    """The data set's path: absolute, else from the folder of the lists."""
    layout, path = asked_layout(source)
    return f"{layout}:{folder / path}" if layout else str(folder / path)


LAYOUT = Layout("lists", "a split", "split.yaml (written by `data split`)", find, read, rank=2)

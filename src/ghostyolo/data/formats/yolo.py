"""YOLO layout: ``data.yaml``, and a text file of labels a picture.

``data.yaml`` has names and splits.

A label row is ``class cx cy w h`` in fractions of the picture's sides, or ``class x1 y1 x2 y2 ...``, a
polygon, of which the enclosing box is taken. A picture's labels lie where the last folder called ``images``
in its path is called ``labels``, or beside the picture; a picture without a label file has no objects.
``train``, ``val`` and ``test`` are a folder, a list of folders, or a ``.txt`` of pictures, relative to
``path``, which is relative to the YAML file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ghostyolo.data.formats.raw import RawData, RawImage, Reporter, all_finite, choose_splits
from ghostyolo.data.images import IMAGE_SUFFIXES
from ghostyolo.errors import DataError

_SPLIT_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def find(folder: Path) -> Path | None:
    """Return the folder's data.yaml or its only other YAML, or None.

    The other one must declare splits.
    """
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (folder / name).is_file():
            return folder / name
    others = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        if isinstance(content, dict) and _SPLIT_KEYS.keys() & content.keys():
            others.append(path)
    return others[0] if len(others) == 1 else None


def read(data_yaml: Path, splits: Sequence[str] | None, reporter: Reporter) -> RawData:
    """Parse a YOLO data set.

    Raises:
        DataError: the YAML is damaged or names no classes or splits, an unknown split was asked for, or a
            label is bad and the reporter strict.
    """
    content = _load_yaml(data_yaml)
    class_names = _class_names(content, data_yaml)
    root = _root(content, data_yaml)
    offered = {
        standard: content[key] for key, standard in _SPLIT_KEYS.items() if content.get(key) not in (None, "", [])
    }
    if not offered:
        raise DataError(f"{data_yaml} names no split: it needs train:, val: or test:, each a folder or .txt file")
    chosen = choose_splits(list(offered), splits, data_yaml)
    read_splits: dict[str, list[RawImage]] = {}
    for split in chosen:
        pictures: list[Path] = []
        for entry in _entries(offered[split], split, data_yaml):
            place = _locate(entry, root, data_yaml.parent)
            if place is None:
                if splits is not None:
                    raise DataError(f"{data_yaml}: {split} is '{entry}', which does not exist in {root}")
                reporter.report("missing-split", data_yaml, f"{split} is '{entry}', which does not exist", split)
            elif place.suffix == ".txt":
                pictures += _listed_pictures(place, root)
            else:
                found = _pictures_in(place)
                _report_orphans(found, place, reporter, split)
                pictures += found
        if pictures:
            read_splits[split] = [
                _read_labels(path, index, class_names, reporter, split) for index, path in enumerate(pictures)
            ]
    _label_names.cache_clear()
    return RawData(data_yaml.parent, "yolo", class_names, read_splits)


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark is not None else ""
        raise DataError(f"{path}{place} is not readable YAML") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no description of a data set: it needs names: and train:, val: or test:")
    return content


def _class_names(content: dict[str, Any], path: Path) -> list[str]:
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DataError(f"{path}: the keys of names: must be 0 to {len(names) - 1} without gaps")
        class_names = [str(names[index]) for index in range(len(names))]
    elif isinstance(names, list):
        class_names = [str(name) for name in names]
    elif names is None and isinstance(count, int) and count > 0:
        return [str(index) for index in range(count)]
    else:
        raise DataError(f"{path} has no names: of the classes (a list, or 0: name, 1: name ...)")
    if not class_names:
        raise DataError(f"{path}: names: is empty")
    if isinstance(count, int) and count != len(class_names):
        raise DataError(f"{path}: nc: is {count} but names: has {len(class_names)} entries")
    return class_names


def _root(content: dict[str, Any], data_yaml: Path) -> Path:
    # A data set that was moved keeps a stale `path`: then the YAML's own folder is tried.
    root = data_yaml.parent / Path(str(content.get("path") or ".")).expanduser()
    return root if root.is_dir() else data_yaml.parent


def _entries(value: Any, split: str, data_yaml: Path) -> list[str]:
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"{data_yaml}: {split}: must be a folder, a list of folders, or a .txt file")
    return entries


def _locate(entry: str, root: Path, yaml_folder: Path) -> Path | None:
    # Some exporters write "../train/images" for what lies beside the YAML file.
    stripped = entry
    while stripped.startswith("../"):
        stripped = stripped[3:]
    for candidate in (root / entry, yaml_folder / entry, yaml_folder / stripped):
        if candidate.exists():
            return candidate
    return None


def _listed_pictures(listing: Path, root: Path) -> list[Path]:
    pictures = []
    for line in listing.read_text(encoding="utf-8").splitlines():
        name = line.strip()
        if name:
            beside = listing.parent / name
            pictures.append(beside if beside.exists() or not (root / name).exists() else root / name)
    return pictures


def _pictures_in(folder: Path) -> list[Path]:
    pictures = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        base = Path(parent)
        pictures += [base / name for name in sorted(files) if _suffix(name) in IMAGE_SUFFIXES]
    return pictures


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


@lru_cache(maxsize=4096)
def _label_folder(picture_folder: Path) -> Path:
    parts = picture_folder.parts
    for index in range(len(parts) - 1, -1, -1):
        if parts[index] == "images":
            swapped = Path(*parts[:index], "labels", *parts[index + 1 :])
            return swapped if swapped.is_dir() else picture_folder
    return picture_folder


@lru_cache(maxsize=4096)
def _label_names(folder: Path) -> frozenset[str]:
    # One listing costs less than asking for each label file, most of all on a network disk.
    return frozenset(name for name in os.listdir(folder) if name.endswith(".txt")) if folder.is_dir() else frozenset()


def _report_orphans(pictures: Iterable[Path], split_folder: Path, reporter: Reporter, split: str) -> None:
    known: dict[Path, set[str]] = {_label_folder(split_folder): set()}
    for picture in pictures:
        known.setdefault(_label_folder(picture.parent), set()).add(f"{picture.stem}.txt")
    for folder, names in known.items():
        if folder.name != "labels" and "labels" not in folder.parts:
            continue  # labels beside pictures: other text files there are no labels
        for name in sorted(_label_names(folder) - names - {"classes.txt"}):
            reporter.report("missing-image", folder / name, "labels without a picture", split)


def _read_labels(picture: Path, index: int, class_names: list[str], reporter: Reporter, split: str) -> RawImage:
    folder = _label_folder(picture.parent)
    name = f"{picture.stem}.txt"
    raw = RawImage(picture, index, folder / name, normalised=True)
    if name not in _label_names(folder):
        return raw
    try:
        text = raw.source.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        reporter.report("bad-label", raw.source, f"is not readable text ({type(error).__name__})", split)
        return raw
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        place = f"line {number}"
        try:
            values = [float(field) for field in fields]
        except ValueError:
            reporter.report("bad-label", raw.source, f"{place}: '{line.strip()[:60]}' is not all numbers", split)
            continue
        if not all_finite(values):
            reporter.report("bad-label", raw.source, f"{place}: '{line.strip()[:60]}' has a NaN or infinity", split)
        elif len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
            message = f"{place}: {len(values)} numbers, expected 5 (class cx cy w h) or class and a polygon"
            reporter.report("bad-label", raw.source, message, split)
        elif values[0] != int(values[0]) or not 0 <= values[0] < len(class_names):
            message = f"{place}: class {fields[0]} is not one of 0 to {len(class_names) - 1} that data.yaml names"
            reporter.report("unknown-class", raw.source, message, split)
        else:
            raw.add(_box(values), int(values[0]), place)
    return raw


def _box(values: list[float]) -> tuple[float, float, float, float]:
    if len(values) == 5:
        _, centre_x, centre_y, width, height = values
        return (centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
    return (min(values[1::2]), min(values[2::2]), max(values[1::2]), max(values[2::2]))

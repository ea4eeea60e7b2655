"""YOLO layout: a text file of labels a picture, with or without a ``data.yaml``.

A label row is ``class cx cy w h`` in fractions of the picture's sides, or ``class x1 y1 x2 y2 ...``, a
polygon, of which the enclosing box is taken; where the YAML has a ``kpt_shape``, a box and its keypoints.

With a ``data.yaml``, a picture's labels lie where the last folder called ``images`` in its path is called ``labels``,
or beside the picture; a picture without a label file has no objects. ``train``, ``val`` and ``test`` are a folder, a
picture, a ``.txt`` of pictures, or a list of such, relative to ``path``, which is relative to the YAML file. Darknet's
``obj.data`` says the same.

Without one, label files are those that have the name of a picture, in any folder; splits are ``train.txt`` and the
like that list pictures, else the names of folders; class names are those of a ``classes.txt`` or ``*.names``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ghostyolo.config import parse_plain_yaml
from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.entries import UNNAMED_SPLIT
from ghostyolo.data.formats.folder import Folder, read_head, sample, split_named
from ghostyolo.data.formats.layout import Layout
from ghostyolo.data.formats.raw import (
    Box,
    RawData,
    RawImage,
    Spellings,
    all_finite,
    choose_splits,
    merge_entries,
    report_left_over,
    report_passed,
)
from ghostyolo.data.images import IMAGE_SUFFIXES
from ghostyolo.data.listing import is_hidden, list_files, suffix_of
from ghostyolo.errors import ConfigError, DataError
from ghostyolo.text import TextError, read_lines, read_text

_SPLIT_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_OTHER_KEYS = frozenset(("path", "names", "nc", "download", "kpt_shape", "flip_idx", "channels", "roboflow"))
_NOTHING: tuple[Any, ...] = (None, "", "~", "null", [])
# Files with label endings that are no labels.
_NO_LABELS = frozenset(("classes.txt", "labels.txt", "obj.names", "readme.txt"))
# Files of class names, a line each.
_NAMES = (
    "classes.txt",
    "obj.names",
    "data.names",
    "classes.names",
    "_darknet.labels",
    "labels.txt",
    "predefined_classes.txt",
)
# No box reaches twice as far as its picture: such numbers are pixels.
_LARGEST_FRACTION = 2.0


def find(folder: Folder) -> list[Path]:
    """Return the description of a YOLO data set, or else its label files.

    A description is a data.yaml, another YAML that declares splits, or Darknet's obj.data.
    """
    described = _descriptions(folder)
    return described or _label_files(folder)


def read(folder: Folder, files: Sequence[Path], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Parse a YOLO data set, see :class:`ghostyolo.data.formats.layout.Layout`.

    Raises:
        DataError: a description is damaged or names no classes, there are two, or an unknown split was asked for.
    """
    suffix = suffix_of(files[0].name)
    if suffix == ".data":
        return _read_described(folder, files[0], _load_darknet(files[0], folder), splits, faults)
    names: list[str] | None = None
    if suffix in (".yaml", ".yml"):
        if len(files) > 1:
            raise DataError(f"{files[0]} and {files[1]} both describe data: give the path of the one that is meant")
        content = _load_yaml(files[0])
        if any(content.get(key) not in _NOTHING for key in _SPLIT_KEYS) or not (labels := _label_files(folder)):
            return _read_described(folder, files[0], content, splits, faults)
        names = _class_names(content, files[0])
        files = labels
    return _read_undescribed(folder, files, names, splits, faults)


def _descriptions(folder: Folder) -> list[Path]:
    """The YAML or obj.data that describes the folder; several where none lies higher than the others."""
    named = folder.named("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
    if folder.alone:
        named = folder.files(".yaml", ".yml") or named
    if not named:
        named = [path for path in folder.files(".yaml", ".yml") if _declares_splits(path)]
    if not named:
        named = [path for path in folder.files(".data") if _darknet_rows(path).keys() & {"train", "valid", "names"}]
    depth = min((len(path.parts) for path in named), default=0)
    highest = [path for path in named if len(path.parts) == depth]
    return (
        highest[:1] if len({path.parent for path in highest}) == 1 and highest == named[:1] else _one_a_folder(highest)
    )


def _one_a_folder(paths: Sequence[Path]) -> list[Path]:
    return list({path.parent: path for path in reversed(paths)}.values())[::-1]


def _declares_splits(path: Path) -> bool:
    try:
        content = parse_plain_yaml(read_text(path))
    except (yaml.YAMLError, RecursionError, TextError, ConfigError):
        return False
    return isinstance(content, dict) and bool(_SPLIT_KEYS.keys() & content.keys()) and "names" in content


def _darknet_rows(path: Path) -> dict[str, str]:
    """The ``key = value`` rows of an obj.data."""
    rows = (line.partition("=") for line in read_head(path).splitlines())
    return {key.strip(): value.strip() for key, equals, value in rows if equals}


def _load_darknet(path: Path, folder: Folder) -> dict[str, Any]:
    """Return an obj.data as the content of a data.yaml."""
    rows = _darknet_rows(path)
    content: dict[str, Any] = {key: rows[key] for key in ("train", "valid", "test") if rows.get(key)}
    place = _locate(rows.get("names", ""), path.parent, path.parent) if rows.get("names") else None
    places = [place] if place is not None and place.is_file() else folder.named(*_NAMES)
    if places:
        content["names"] = _listed_names(places[0])
    elif rows.get("classes"):
        content["nc"] = rows["classes"]
    return content


def _label_files(folder: Folder) -> list[Path]:
    """The text files that have a picture's name, if their rows are YOLO's."""
    texts = [path for path in folder.files(".txt") if path.name.casefold() not in _NO_LABELS]
    texts = [path for path in texts if folder.find_pictures(path.stem, path, stem=True)]
    rows = [line.split() for path in sample(texts) for line in read_head(path).splitlines()[:5] if line.strip()]
    return texts if rows and sum(map(_is_row, rows)) > len(rows) / 2 else []


def _has_labels(path: Path) -> bool:
    """Whether a text file is one of labels: it lies in their folder, or begins with a row."""
    in_folder = "labels" in [part.casefold() for part in path.parts[:-1]]
    return in_folder or _is_row(read_head(path).strip().split("\n")[0].split())


def _is_row(fields: Sequence[str]) -> bool:
    try:
        return len(fields) >= 5 and float(fields[0]) >= 0 and all_finite([float(field) for field in fields[1:]])
    except ValueError:
        return False


def _read_undescribed(
    folder: Folder, files: Sequence[Path], names: list[str] | None, splits: Sequence[str] | None, faults: FaultList
) -> RawData:
    """Pair label files with pictures of their name."""
    names = names if names is not None else _names_of_folder(folder)
    label_of: dict[Path, Path] = {}
    for path in files:
        written = os.path.splitext(path.relative_to(folder.root) if path.is_relative_to(folder.root) else path)[0]
        for picture in folder.find_pictures(written, path, stem=True):
            if label_of.setdefault(picture, path) != path:
                message = f"{picture.name} may have the labels of {label_of[picture]} or of {path}: move one of the two"
                faults.report("ambiguous", path, message)
    labels = _Labels(names if names is not None else [str(number) for number in range(_most_classes(files))],
                     None, faults)  # fmt: skip
    if names is None:
        message = f"no {', '.join(_NAMES[:3])} names the {len(labels.class_names)} classes"
        faults.report("names-unknown", folder.root, message)
    offered = _listed_splits(folder, labels) or _splits_by_folder(folder, label_of)
    read_splits: dict[str, list[RawImage]] = {}
    for split in choose_splits(list(offered), splits, folder.root):
        pictures = offered[split]
        images = [image for index, path in enumerate(dict.fromkeys(pictures))
                  if (image := labels.read(path, index, split, label_of.get(path))) is not None]  # fmt: skip
        read_splits[split] = merge_entries(images, faults, split)
        labels.report_shared(read_splits[split], split)
        labels.report_polygons(folder.root, split)
    paired, places = set(files), {path.parent for path in files}
    orphans = [path for path in folder.files(".txt") if path.parent in places and path not in paired
               and path.name.casefold() not in _NO_LABELS and _has_labels(path)]  # fmt: skip
    for path in orphans:
        faults.report("labels-without-image", path, "labels without a picture")
    if splits is None:
        report_left_over(folder, read_splits, faults, "are in no list, or in folders without a label")
    return RawData(folder.root, "yolo", labels.class_names, read_splits)


def _names_of_folder(folder: Folder) -> list[str] | None:
    lists = {path: _listed_names(path) for path in folder.named(*_NAMES)}
    lists = {path: names for path, names in lists.items() if names}
    first = next(iter(lists), None)
    if first is None:
        return None
    other = next((path for path, names in lists.items() if names != lists[first]), None)
    if other is not None:
        raise DataError(f"{first} and {other} name other classes: delete the one that is wrong")
    return lists[first]


def _listed_names(path: Path) -> list[str]:
    names = [line.strip() for line in read_lines(path)]
    while names and not names[-1]:
        names.pop()
    return names


def _most_classes(files: Sequence[Path]) -> int:
    highest = 0
    for path in files:
        try:
            numbers = [line.split(maxsplit=1)[0] for line in read_lines(path) if line.strip()]
        except TextError:
            continue  # reported where it is parsed
        highest = max([highest, *(int(number) for number in numbers if number.isdecimal() and len(number) < 6)])
    return highest + 1


def _listed_splits(folder: Folder, labels: _Labels) -> dict[str, list[Path]]:
    """The pictures of text files such as train.txt, where they list pictures."""
    splits: dict[str, list[Path]] = {}
    for path in folder.files(".txt"):
        split = split_named(path.stem, alone=True)
        if split and suffix_of(read_head(path).strip().split("\n")[0].strip()) in IMAGE_SUFFIXES:
            splits.setdefault(split, []).extend(labels.listed(path, folder.root, folder))
    return splits


def _splits_by_folder(folder: Folder, label_of: dict[Path, Path]) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    # Where no picture has labels, pictures are results, or wait to be labelled; else those without are background.
    labelled = {picture.parent for picture in label_of}
    for picture in folder.pictures:
        if picture.parent not in labelled:
            continue
        label = label_of.get(picture)
        split = folder.split_of(picture) or (folder.split_of(label) if label is not None else "")
        splits.setdefault(split or UNNAMED_SPLIT, []).append(picture)
    return splits


def _read_described(
    folder: Folder, data_yaml: Path, content: dict[str, Any], splits: Sequence[str] | None, faults: FaultList
) -> RawData:
    """Read what a data.yaml says; the content may be of an obj.data."""
    labels = _Labels(_class_names(content, data_yaml), _keypoint_numbers(content, data_yaml), faults)
    root = _root(content, data_yaml)
    offered: dict[str, Any] = {}
    for key, standard in _SPLIT_KEYS.items():
        if content.get(key) not in _NOTHING:
            if standard in offered:
                raise DataError(f"{data_yaml} names the split {standard} twice: leave '{key}:' out")
            offered[standard] = content[key]
    if not offered:  # a data set of one unnamed part, such as CVAT's "default"
        offered = {key: value for key, value in content.items() if key not in _OTHER_KEYS and isinstance(value, str)
                   and _locate(value, root, data_yaml.parent) is not None}  # fmt: skip
    if not offered:
        raise DataError(f"{data_yaml} names no split: it needs train:, val: or test:, each a folder or .txt file")
    read_splits: dict[str, list[RawImage]] = {}
    for split in choose_splits(list(offered), splits, data_yaml):
        pictures: list[Path] = []
        for entry in _entries(offered[split], split, data_yaml):
            place = _locate(entry, root, data_yaml.parent)
            if place is None:
                if splits is not None:
                    raise DataError(f"{data_yaml}: {split} is '{entry}', which does not exist in {root}")
                faults.report("missing-split", data_yaml, f"{split}: {entry} does not exist", split)
            elif place.is_dir():
                pictures += labels.pictures_in(place, split)
            elif place.suffix.lower() == ".txt":
                pictures += labels.listed(place, root, folder)
            elif suffix_of(place.name) in IMAGE_SUFFIXES:
                pictures.append(place)
            else:
                raise DataError(f"{data_yaml}: {split} is '{entry}', no folder, picture or .txt of pictures")
        images = [
            image
            for index, path in enumerate(dict.fromkeys(pictures))
            if (image := labels.read(path, index, split)) is not None
        ]
        repeats = Counter(pictures)
        for path, times in repeats.items():
            if times > 1:
                faults.report("listed-twice", path, f"is listed {times} times in {split}", split, times - 1)
        read_splits[split] = merge_entries(images, faults, split)
        labels.report_shared(read_splits[split], split)
        labels.report_polygons(data_yaml, split)
    return RawData(data_yaml.parent, "yolo", labels.class_names, read_splits)


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        # Every value as it is written: a class may be called no, on, 010 or 1e3.
        content = parse_plain_yaml(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark is not None else ""
        raise DataError(f"{path}{place} is not readable YAML") from error
    except RecursionError as error:
        raise DataError(f"{path} is not readable YAML: it is nested too deep") from error
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no description of a data set: it needs names: and train:, val: or test:")
    return content


def _class_names(content: dict[str, Any], path: Path) -> list[str]:
    names, count = content.get("names"), _whole(content.get("nc"))
    if isinstance(names, dict):
        numbered = {_whole(key): name for key, name in names.items()}
        if set(numbered) != set(range(len(names))):
            raise DataError(f"{path}: the keys of names: must be 0 to {len(names) - 1} without gaps")
        class_names = [numbered[index] for index in range(len(names))]
    elif isinstance(names, list):
        class_names = names
    elif names in _NOTHING and count is not None and count > 0:
        return [str(index) for index in range(count)]
    else:
        raise DataError(f"{path} has no names: of the classes (a list, or 0: name, 1: name ...)")
    if not class_names:
        raise DataError(f"{path}: names: is empty")
    if not all(isinstance(name, str) for name in class_names):
        raise DataError(f"{path}: names: must be texts, one a class")
    if count is not None and count != len(class_names):
        raise DataError(f"{path}: nc: is {count} but names: has {len(class_names)} entries")
    for index, name in enumerate(class_names):
        if class_names.index(name) != index:
            raise DataError(f"{path}: names: has '{name}' twice, as {class_names.index(name)} and {index}: rename one")
    return class_names


def _keypoint_numbers(content: dict[str, Any], path: Path) -> int | None:
    """How many numbers of keypoints follow a box, or None where rows have none."""
    shape = content.get("kpt_shape")
    if shape in _NOTHING:
        return None
    sizes = [_whole(size) for size in shape] if isinstance(shape, list) else []
    if len(sizes) != 2 or sizes[0] is None or sizes[1] not in (2, 3):
        raise DataError(f"{path}: kpt_shape: must be [number of keypoints, 2 or 3], not {shape}")
    return sizes[0] * sizes[1]


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else None


def _root(content: dict[str, Any], data_yaml: Path) -> Path:
    # A data set that was moved keeps a stale `path`: then the YAML's own folder is tried.
    path = content.get("path")
    root = data_yaml.parent / Path(path if isinstance(path, str) and path else ".").expanduser()
    return root if os.path.isdir(root) else data_yaml.parent


def _entries(value: Any, split: str, data_yaml: Path) -> list[str]:
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"{data_yaml}: {split}: must be a folder, a list of folders, or a .txt file")
    return entries


def _locate(entry: str, root: Path, yaml_folder: Path) -> Path | None:
    # Some exporters write "../train/images" for what lies beside the YAML file; Windows writes "train\images".
    for written in dict.fromkeys((entry, entry.replace("\\", "/"))):
        stripped = written
        while stripped.startswith("../"):
            stripped = stripped[3:]
        parts = PurePosixPath(stripped).parts
        # A data set that was moved: the end of a path that is no more, of two folders or a file at least.
        moved = [yaml_folder.joinpath(*parts[start:]) for start in range(1, len(parts) - (not suffix_of(stripped)))]
        for candidate in (root / written, yaml_folder / written, yaml_folder / stripped, *moved):
            if os.path.exists(candidate):
                return candidate
    return None


class _Labels:
    """Finds and parses the label files of a data set's pictures."""

    def __init__(self, class_names: list[str], keypoint_numbers: int | None, faults: FaultList) -> None:
        self.class_names = class_names
        self._keypoint_numbers = keypoint_numbers
        self._faults = faults
        self._spellings = Spellings()
        self._folders: dict[Path, list[Path]] = {}
        self._listings: dict[Path, list[Path]] = {}
        self._polygons = 0

    def pictures_in(self, folder: Path, split: str) -> list[Path]:
        """Return the pictures at any depth; report what is passed over, and labels without a picture."""
        if folder in self._listings:
            return self._listings[folder]
        listing = list_files(folder, IMAGE_SUFFIXES, deep=True)
        self._listings[folder] = listing.files
        report_passed(listing, folder, self._faults, split)
        used = {self._file_of(picture) for picture in listing.files}
        folders = {self._label_folders(folder)[0], *(self._label_folders(file.parent)[0] for file in listing.files)}
        for place in sorted(folders):
            for name in self._spellings.names(place):
                is_label = suffix_of(name) == ".txt" and name.casefold() not in _NO_LABELS
                if is_label and not is_hidden(name) and place / name not in used and _has_labels(place / name):
                    self._faults.report("labels-without-image", place / name, "labels without a picture", split)
        return listing.files

    def listed(self, listing: Path, root: Path, folder: Folder | None = None) -> list[Path]:
        """Return the pictures that a text file lists; those that are nowhere keep the path as written.

        Args:
            folder: where pictures are looked for by their names alone.
        """
        pictures = []
        for line in read_lines(listing):
            if not line.strip():
                continue
            places = [folder / name for name in dict.fromkeys((line, line.strip()))
                      for folder in (listing.parent, root)]  # fmt: skip
            found = (self._spellings.find(place) for place in places)
            path = next((path for path in found if path is not None), None)
            if path is None and folder is not None:
                path = next(iter(folder.find_pictures(line.strip(), listing)), None)
            pictures.append(path or places[-1])
        return pictures

    def read(self, picture: Path, index: int, split: str, source: Path | None = None) -> RawImage | None:
        """Parse the labels of one picture, from ``source`` where it is known; None where they cannot be read."""
        source = source or self._file_of(picture)
        if source is None:
            expected = self._label_folders(picture.parent)[0] / f"{picture.stem}.txt"
            return RawImage(picture, index, expected, normalised=True)
        raw = RawImage(picture, index, source, normalised=True)
        try:
            lines = read_lines(source)
        except TextError as error:
            self._faults.report("bad-label", source, error.reason, split)
            return None
        for number, line in enumerate(lines, start=1):
            if line.strip():
                kind, message = self._read_row(raw, line, f"line {number}")
                if message:
                    self._faults.report(kind, source, f"line {number}: {message}", split)
        return raw

    def report_shared(self, images: Sequence[RawImage], split: str) -> None:
        """Report pictures, such as a.jpg and a.png, that have one label file."""
        owner: dict[Path, Path] = {}
        for image in images:
            first = owner.setdefault(image.source, image.path)
            if first != image.path and image.boxes:
                message = f"has the same labels as {first.name}: {image.source.name}"
                self._faults.report("shared-labels", image.path, message, split)

    def report_polygons(self, place: Path, split: str) -> None:
        """Report how many boxes are those around polygons."""
        if self._polygons:
            message = f"{self._polygons} of shape polygon"
            self._faults.report("shape-boxed", place, message, split, self._polygons)
        self._polygons = 0

    def _read_row(self, raw: RawImage, line: str, place: str) -> tuple[str, str]:
        """Add a row's box; returns the fault's kind and message, or empty texts."""
        row = line.strip()[:60]
        fields = line.split()
        try:
            values = [float(field) for field in fields]
        except ValueError:
            return "bad-label", f"'{row}' is not all numbers"
        count = len(values)
        if not all_finite(values):
            return "bad-label", f"'{row}' has a NaN or infinity"
        if self._keypoint_numbers is not None:
            if count not in (5, 5 + self._keypoint_numbers):
                return "bad-label", f"{count} numbers, expected 5 and {self._keypoint_numbers} of keypoints (kpt_shape)"
            values = values[:5]
        elif count != 5 and (count < 7 or count % 2 == 0):
            return "bad-label", f"{count} numbers, expected 5 (class cx cy w h) or class and a polygon"
        if values[0] != int(values[0]) or not 0 <= values[0] < len(self.class_names):
            message = f"class {fields[0]} is not one of 0 to {len(self.class_names) - 1} that data.yaml names"
            return "unknown-class", message
        if max(map(abs, values[1:])) > _LARGEST_FRACTION:
            return "wrong-unit", f"'{row}' is in pixels: labels are fractions of the picture's sides, 0 to 1"
        self._polygons += len(values) > 5
        raw.add(_box(values), int(values[0]), place)
        return "", ""

    def _file_of(self, picture: Path) -> Path | None:
        # Some tools keep the picture's ending: a.jpg.txt.
        for folder in self._label_folders(picture.parent):
            names = self._spellings.names(folder)
            for stem in (picture.stem, picture.name):
                name = names.find(f"{stem}.txt")
                if name is not None and (name == f"{picture.stem}.txt" or not self._is_anothers(name, picture)):
                    return folder / name
        return None

    def _is_anothers(self, name: str, picture: Path) -> bool:
        """Whether another picture of the folder has this label file's very name."""
        stem = os.path.splitext(name)[0]
        others = (other for other in self._spellings.names(picture.parent) if other != picture.name)
        return any(os.path.splitext(other)[0] == stem and suffix_of(other) in IMAGE_SUFFIXES for other in others)

    def _label_folders(self, folder: Path) -> list[Path]:
        """Where labels of a folder's pictures may lie, the likeliest first."""
        if folder not in self._folders:
            self._folders[folder] = [*self._beside_images(folder), folder]
        return self._folders[folder]

    def _beside_images(self, folder: Path) -> list[Path]:
        parts = folder.parts
        for index in range(len(parts) - 1, -1, -1):
            if parts[index].casefold() == "images":
                base = Path(*parts[:index])
                place: Path | None = base
                for part in ("labels", *parts[index + 1 :]):
                    place = self._spellings.find(place / part) if place is not None else None
                return [place] if place is not None and os.path.isdir(place) else []
        return []


def _box(values: list[float]) -> Box:
    if len(values) == 5:
        _, centre_x, centre_y, width, height = values
        return (centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
    return (min(values[1::2]), min(values[2::2]), max(values[1::2]), max(values[2::2]))


LAYOUT = Layout("yolo", "YOLO", "data.yaml, obj.data, or a *.txt of rows for a picture", find, read, rank=1)

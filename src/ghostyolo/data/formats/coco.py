"""COCO layout: JSONs of each split, ``annotations/instances_SPLIT.json`` or ``SPLIT/_annotations.coco.json``.

``bbox`` is [x, y, width, height] in pixels from 0. Category ids may have gaps: labels count them in the
order of their ids, over all the JSON files of the data set, so that every split has the same labels; ids of one name
are one class. Several files of one split are read together; entries of one picture are one picture with all its boxes.
``iscrowd`` becomes ``ignore``. Format: cocodataset.org, "Data format", object detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.raw import (
    Box,
    RawData,
    RawImage,
    Spellings,
    all_finite,
    as_flag,
    as_size,
    choose_splits,
    merge_entries,
    standard_split,
)
from ghostyolo.data.images import IMAGE_SUFFIXES
from ghostyolo.data.listing import is_hidden, suffix_of
from ghostyolo.errors import DataError
from ghostyolo.text import read_json

_EXPORTED_NAME = "_annotations.coco.json"
_OTHER_TASKS = ("captions_", "person_keypoints_", "panoptic_", "stuff_", "image_info_")
_SAMPLED_NAMES = 50

Key = int | str


def find(folder: Path) -> dict[str, list[Path]] | None:
    """Return the JSON files of each split in a folder, or None.

    They lie there or in its annotations folder.
    """
    exported = [path for path in sorted(folder.glob(f"*/{_EXPORTED_NAME}")) if not is_hidden(path.parent.name)]
    if exported:
        return by_split(exported)
    for place in (folder / "annotations", folder):
        files = [path for path in _jsons(place) if not path.name.startswith(_OTHER_TASKS)]
        instances = [path for path in files if path.name.startswith("instances_")]
        files = instances or [path for path in files if _looks_like_coco(path)]
        if files:
            return by_split(files)
    return None


def by_split(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Group JSON files by the split that their names say: ``instances_val2017.json`` is of ``val``."""
    splits: dict[str, list[Path]] = {}
    for path in files:
        exported = path.name == _EXPORTED_NAME
        name = path.parent.name if exported else path.stem.removeprefix("instances_")
        splits.setdefault(standard_split(name), []).append(path)
    return splits


def read(files: dict[str, list[Path]], root: Path, splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Parse a COCO data set.

    Args:
        files: the JSONs of each split.
        root: the folder that pictures are looked for in.
        splits: those wanted; None for all.
        faults: the list to add to.

    Raises:
        DataError: a JSON is damaged or is not COCO's, two files disagree on a category, or an unknown split
            was asked for.
    """
    chosen = choose_splits(list(files), splits, root)
    contents = {path: _load(path) for paths in files.values() for path in paths}
    label_of, class_names = _categories(contents, faults)
    spellings = Spellings()
    read_splits = {}
    for split in chosen:
        images: list[RawImage] = []
        for path in files[split]:
            images += _File(path, root, label_of, faults, split, spellings).read(contents[path])
        images = merge_entries(images, faults, split)
        if len({image.image_id for image in images}) < len(images):  # ids of several files
            images = [replace(image, image_id=position) for position, image in enumerate(images)]
        read_splits[split] = images
    if splits is None:
        _report_unlisted(read_splits, spellings, root, faults)
    return RawData(root, "coco", class_names, read_splits)


def _jsons(folder: Path) -> list[Path]:
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in paths if suffix_of(path.name) == ".json" and not is_hidden(path.name) and path.is_file()]


def _looks_like_coco(path: Path) -> bool:
    # The three keys may come in any order with gigabytes between them, so only a whole parse would be sure;
    # results files and label maps, the usual other JSON, are told apart by how they begin.
    with open(path, "rb") as file:
        start = file.read(65536).replace(b"\x00", b"").lstrip(b"\xef\xbb\xbf\xff\xfe").lstrip()
    return start.startswith(b"{") and any(key in start for key in (b'"images"', b'"annotations"'))


def _load(path: Path) -> dict[str, Any]:
    content = read_json(path)
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        raise DataError(f"{path} is not COCO's JSON: it needs the lists images, annotations and categories")
    for category in content["categories"]:
        if not isinstance(category, dict) or not isinstance(_key(category.get("id")), int) or "name" not in category:
            raise DataError(f"{path}: a category needs a whole number as id and a name, got {str(category)[:60]}")
    return content


def _key(value: Any) -> Key | None:
    """An id as it is compared: 7, 7.0 and "7" are one."""
    try:
        number = float(value)
        return int(number) if number.is_integer() else str(value)
    except (TypeError, ValueError, OverflowError):
        return value if isinstance(value, str) else None


def _categories(contents: dict[Path, dict[str, Any]], faults: FaultList) -> tuple[dict[Key, int], list[str]]:
    """Return the label of each category id, and the name of each label."""
    names: dict[Key, tuple[str, Path]] = {}
    for path, content in contents.items():
        for category in content["categories"]:
            key, name = _key(category["id"]), str(category["name"])
            assert isinstance(key, int)
            other, source = names.setdefault(key, (name, path))
            if name != other:
                raise DataError(f"{path}: category {key} is '{name}', in {source} it is '{other}'")
    if not names:
        raise DataError(f"{next(iter(contents))} names no categories")
    label_of: dict[Key, int] = {}
    first: dict[str, Key] = {}
    class_names: list[str] = []
    for key, (name, source) in sorted(names.items(), key=lambda item: int(item[0])):
        if name in first:
            faults.report("doubled-class", source, f"categories {first[name]} and {key} are both '{name}'")
            label_of[key] = label_of[first[name]]
        else:
            first[name] = key
            label_of[key] = len(class_names)
            class_names.append(name)
    return label_of, class_names


def _report_unlisted(splits: dict[str, list[RawImage]], spellings: Spellings, root: Path, faults: FaultList) -> None:
    """Count the pictures that lie beside those of the data set and are in no JSON."""
    listed = {image.path for images in splits.values() for image in images}
    names = {folder: spellings.names(folder) for folder in {path.parent for path in listed}}
    pictures = (folder / name for folder, others in names.items() for name in others
                if suffix_of(name) in IMAGE_SUFFIXES and not is_hidden(name))  # fmt: skip
    unlisted = sorted(path for path in pictures if path not in listed)
    if unlisted:
        message = f"{len(unlisted)} pictures are in no JSON, such as {unlisted[0].name}"
        faults.report("not-read", root, message, "", len(unlisted))


class _File:
    """Reads one JSON."""

    def __init__(
        self,
        source: Path,
        root: Path,
        label_of: dict[Key, int],
        faults: FaultList,
        split: str,
        spellings: Spellings,
    ) -> None:
        self.source, self._label_of, self._faults, self._split = source, label_of, faults, split
        self._spellings = spellings
        written = source.stem.removeprefix("instances_")
        standard = standard_split(written)
        folders = [root / "images" / written, root / written, root / "images" / standard, root / standard]
        self._folders = list(dict.fromkeys([*folders, source.parent, root / "images", root / "JPEGImages", root]))

    def read(self, content: dict[str, Any]) -> list[RawImage]:
        """Return every entry of ``images`` with its annotations."""
        entries = []
        for position, entry in enumerate(content["images"]):
            if isinstance(entry, dict) and isinstance(entry.get("file_name"), str) and entry["file_name"]:
                entries.append(entry)
            else:
                self._report("bad-label", f"image at position {position} has no file_name")
        self._put_likeliest_folder_first([entry["file_name"] for entry in entries])
        images: list[RawImage] = []
        image_of: dict[Key | None, RawImage] = {}
        for position, entry in enumerate(entries):
            key = _key(entry.get("id"))
            image_id = key if isinstance(key, int) else position
            size = as_size(entry.get("width"), entry.get("height"))
            image = RawImage(self._place(entry["file_name"]), image_id, self.source, written_size=size)
            images.append(image)
            first = image_of.setdefault(key, image)
            if first.path != image.path:
                message = f"id {entry.get('id')} is that of {first.path.name} and of {image.path.name}"
                self._report("ambiguous", message)
        for position, annotation in enumerate(content["annotations"]):
            self._add(annotation, position, image_of)
        return images

    def _add(self, annotation: Any, position: int, image_of: dict[Key | None, RawImage]) -> None:
        if not isinstance(annotation, dict):
            self._report("bad-label", f"annotation at position {position} is {str(annotation)[:60]}")
            return
        place = f"annotation {annotation.get('id', f'at position {position}')}"
        image = image_of.get(_key(annotation.get("image_id")))
        box = _numbers(annotation.get("bbox"))
        category = _key(annotation.get("category_id"))
        label = self._label_of.get(category) if category is not None else None
        if image is None:
            self._report("labels-without-image", f"{place}: no picture has the id {annotation.get('image_id')}")
        elif box is None:
            self._report("bad-label", f"{place}: bbox {str(annotation.get('bbox'))[:60]} is not four finite numbers")
        elif label is None:
            message = f"{place}: category {annotation.get('category_id')} is not among the categories"
            self._report("unknown-class", message)
        else:
            x, y, width, height = box
            crowd = as_flag(annotation.get("iscrowd"))
            image.add((x, y, x + width, y + height), label, place, crowd=crowd, area=_area(annotation.get("area")))

    def _report(self, kind: str, message: str) -> None:
        self._faults.report(kind, self.source, message, self._split)

    def _place(self, name: str) -> Path:
        places = (self._spellings.find(folder / name) for folder in self._folders)
        return next((place for place in places if place is not None), self._folders[0] / name)

    def _put_likeliest_folder_first(self, names: Sequence[str]) -> None:
        sample = names[:: max(1, len(names) // _SAMPLED_NAMES)]
        count = {folder: sum(self._spellings.find(folder / name) is not None for name in sample)
                 for folder in self._folders}  # fmt: skip
        self._folders.sort(key=lambda folder: -count[folder])
        if names and not count[self._folders[0]]:
            looked = ", ".join(str(folder) for folder in self._folders if folder.is_dir())
            raise DataError(f"{self.source}: none of its pictures ({names[0]} ...) is in {looked}")


def _numbers(value: Any) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    try:
        numbers = (float(value[0]), float(value[1]), float(value[2]), float(value[3]))
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if all_finite(numbers) else None


def _area(value: Any) -> float | None:
    """The stated area; None where it is missing or impossible."""
    if isinstance(value, int | float) and 0 < value < float("inf"):
        return float(value)
    return None

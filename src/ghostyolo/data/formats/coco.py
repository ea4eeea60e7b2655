"""COCO layout: JSONs of each split, under any name and in any folder.

``bbox`` is [x, y, width, height] in pixels from 0. Category ids may have gaps: labels count them in the
order of their ids, over all the JSON files of the data set, so that every split has the same labels; ids of one name
are one class. Where files give one id to two names, names tell the classes. Several files of one split are read
together; entries of one picture are one picture with all its boxes. ``iscrowd`` becomes ``ignore``. Format:
cocodataset.org, "Data format", object detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.entries import UNNAMED_SPLIT, sizes_of
from ghostyolo.data.formats.folder import Folder, split_named
from ghostyolo.data.formats.layout import Layout
from ghostyolo.data.formats.raw import (
    Box,
    RawData,
    RawImage,
    all_finite,
    as_flag,
    as_size,
    choose_splits,
    merge_entries,
    report_left_over,
)
from ghostyolo.errors import DataError
from ghostyolo.text import printable, read_json

_OTHER_TASKS = ("captions_", "person_keypoints_", "panoptic_", "stuff_", "image_info_")
_PREFIX = "instances_"

Key = int | str


def find(folder: Folder) -> list[Path]:
    """Return the JSON files that are COCO's; where some are named ``instances_*.json``, those."""
    instances, others = [], []
    for path, head in folder.heads(".json"):
        if path.name.lower().startswith(_PREFIX):
            instances.append(path)
        elif _looks_like_coco(head) and (folder.alone or not path.name.lower().startswith(_OTHER_TASKS)):
            others.append(path)
    return instances or others


def read(folder: Folder, files: Sequence[Path], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Parse a COCO data set, see :class:`ghostyolo.data.formats.layout.Layout`.

    Raises:
        DataError: a JSON is damaged or is not COCO's, none of its pictures is there, or an unknown split was asked for.
    """
    by_split: dict[str, list[Path]] = {}
    for path in files:
        by_split.setdefault(_split_of(path, folder), []).append(path)
    chosen = choose_splits(list(by_split), splits, folder.root)
    contents = {path: _load(path) for path in files}
    label_of, class_names = _categories(contents, faults)
    read_splits = {}
    for split in chosen:
        images: list[RawImage] = []
        missing = 0
        for path in by_split[split]:
            file = _File(path, folder, label_of[path], faults, split)
            images += file.read(contents[path])
            missing += file.missing
        if images and missing == len(images):
            message = f"none of its pictures ({printable(images[0].path.name)} ...) is in {folder.root}"
            raise DataError(f"{by_split[split][0]}: {message}")
        images = merge_entries(images, faults, split)
        if len({image.image_id for image in images}) < len(images):  # ids of several files
            images = [replace(image, image_id=position) for position, image in enumerate(images)]
        read_splits[split] = images
    if splits is None:
        report_left_over(folder, read_splits, faults, "are in no JSON")
    return RawData(folder.root, "coco", class_names, read_splits)


def _split_of(path: Path, folder: Folder) -> str:
    """The split that a JSON is of: as its name says, its folder, or the rest of ``instances_NAME``."""
    name = path.stem.lower().removeprefix(_PREFIX)
    said = split_named(name) or split_named(path.parent.name, alone=True)
    return said or (name if path.stem.lower().startswith(_PREFIX) else UNNAMED_SPLIT)


def _looks_like_coco(head: str) -> bool:
    # The three keys may come in any order with gigabytes between them, so only a whole parse would be sure;
    # results files, labelme's and label maps, the usual other JSON, are told apart by how they begin.
    start = head.lstrip()
    return (
        start.startswith("{")
        and any(key in start for key in ('"images"', '"annotations"', '"licenses"', '"supercategory"'))
        and '"shapes"' not in start
    )


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


def _categories(
    contents: dict[Path, dict[str, Any]], faults: FaultList
) -> tuple[dict[Path, dict[Key, int]], list[str]]:
    """Return, for each file, the label of each category id; and the name of each label."""
    groups = _group_names(contents)
    listed = [(int(_key(category["id"]) or 0), str(category["name"]), path)
              for path, content in contents.items() for category in content["categories"]
              if category["name"] not in groups]  # fmt: skip
    if not listed:
        raise DataError(f"{next(iter(contents))} names no categories")
    names = {identity: name for identity, name, _ in listed}
    # Files that number their classes each for itself are told by names, in the order of the files.
    if all(names[identity] == name for identity, name, _ in listed):
        listed.sort(key=lambda item: item[0])
    first: dict[str, int] = {}
    label_of: dict[Path, dict[Key, int]] = {path: {} for path in contents}
    class_names: list[str] = []
    doubled = set()
    for identity, name, path in listed:
        if name not in first:
            first[name] = identity
            class_names.append(name)
        label, known = class_names.index(name), label_of[path]
        if known.get(identity, label) != label:
            raise DataError(
                f"{path}: category {identity} is '{class_names[known[identity]]}' and '{name}': renumber one"
            )
        if identity not in known and label in known.values() and identity not in doubled:
            doubled.add(identity)
            faults.report("doubled-class", path, f"categories {first[name]} and {identity} are both '{name}'")
        known[identity] = label
    return label_of, class_names


def _group_names(contents: dict[Path, dict[str, Any]]) -> set[str]:
    """Names of categories that only group others, as exports write them: no object is of one."""
    categories = [category for content in contents.values() for category in content["categories"]]
    parents = {str(category.get("supercategory")) for category in categories
               if category.get("supercategory") != category["name"]}  # fmt: skip
    candidates = {str(category["name"]) for category in categories} & parents
    if not candidates:
        return set()
    for content in contents.values():
        used = {_key(annotation.get("category_id")) for annotation in content["annotations"]
                if isinstance(annotation, dict)}  # fmt: skip
        candidates -= {str(category["name"]) for category in content["categories"] if _key(category["id"]) in used}
    return candidates


class _File:
    """Reads one JSON."""

    def __init__(self, source: Path, folder: Folder, label_of: dict[Key, int], faults: FaultList, split: str) -> None:
        self.source, self._folder, self._label_of, self._faults, self._split = source, folder, label_of, faults, split
        self.missing = 0  # pictures that are nowhere

    def read(self, content: dict[str, Any]) -> list[RawImage]:
        """Return every entry of ``images`` with its annotations."""
        entries = []
        for position, entry in enumerate(content["images"]):
            if isinstance(entry, dict) and isinstance(entry.get("file_name"), str) and entry["file_name"]:
                entries.append(entry)
            else:
                self._report("bad-label", f"image at position {position} has no file_name")
        images: list[RawImage] = []
        image_of: dict[Key | None, RawImage] = {}
        for position, entry in enumerate(entries):
            key = _key(entry.get("id"))
            image_id = key if isinstance(key, int) else position
            size = as_size(entry.get("width"), entry.get("height"))
            image = RawImage(self._place(entry["file_name"], size), image_id, self.source, written_size=size)
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

    def _place(self, name: str, size: tuple[int, int] | None) -> Path:
        found = self._folder.find_pictures(name, self.source, self._split)
        if len(found) > 1 and size is not None:
            found = [path for path in found if size in sizes_of(path)] or found
        if len(found) > 1:
            self._report("ambiguous", f"'{printable(name)}' may be {found[0]} or {found[1]}: write their folders")
        self.missing += not found
        return found[0] if found else self._folder.expected(name, self.source)


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


LAYOUT = Layout("coco", "COCO", "*.json with images, annotations and categories", find, read)

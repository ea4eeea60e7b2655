"""COCO layout: one JSON a split, ``annotations/instances_SPLIT.json`` or ``SPLIT/_annotations.coco.json``.

``bbox`` is [x, y, width, height] in pixels from 0. Category ids may have gaps: labels count them in the
order of their ids, over all the JSON files of the data set, so that every split has the same labels.
``iscrowd`` becomes ``ignore``. Format: cocodataset.org, "Data format", object detection.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ghostyolo.data.formats.raw import (
    RawData,
    RawImage,
    Reporter,
    all_finite,
    choose_splits,
    standard_split,
)
from ghostyolo.errors import DataError

_EXPORTED_NAME = "_annotations.coco.json"
_OTHER_TASKS = ("captions_", "person_keypoints_", "panoptic_", "stuff_", "image_info_")


def find(folder: Path) -> dict[str, Path] | None:
    """Return the JSON file of each split in a folder, or None.

    It lies there or in its annotations folder.
    """
    exported = sorted(folder.glob(f"*/{_EXPORTED_NAME}"))
    if exported:
        return {standard_split(path.parent.name): path for path in exported}
    for place in (folder / "annotations", folder):
        files = [path for path in sorted(place.glob("*.json")) if not path.name.startswith(_OTHER_TASKS)]
        instances = [path for path in files if path.name.startswith("instances_")]
        files = instances or [path for path in files if _looks_like_coco(path)]
        if files:
            return {split_of(path): path for path in files}
    return None


def split_of(path: Path) -> str:
    """Return the split that a JSON file's name says: ``instances_val2017.json`` is ``val``."""
    if path.name == _EXPORTED_NAME:
        return standard_split(path.parent.name)
    return standard_split(path.stem.removeprefix("instances_"))


def read(files: dict[str, Path], root: Path, splits: Sequence[str] | None, reporter: Reporter) -> RawData:
    """Parse a COCO data set.

    Args:
        files: the JSON of each split.
        root: the folder that pictures are looked for in.
        splits: those wanted; None for all.
        reporter: where faults go.

    Raises:
        DataError: a JSON is damaged or is not COCO's, two files disagree on a category, an unknown split
            was asked for, or an annotation is bad and the reporter strict.
    """
    chosen = choose_splits(list(files), splits, root)
    contents = {split: _load(path) for split, path in files.items()}
    names: dict[Any, str] = {}
    for split, content in contents.items():
        for category in content["categories"]:
            name = names.setdefault(category["id"], str(category["name"]))
            if name != str(category["name"]):
                raise DataError(
                    f"{files[split]}: category {category['id']} is '{category['name']}', elsewhere '{name}'"
                )
    if not names:
        raise DataError(f"{next(iter(files.values()))} names no categories")
    label_of = {category: label for label, category in enumerate(sorted(names))}
    read_splits = {
        split: _read_split(contents[split], files[split], root, label_of, reporter, split) for split in chosen
    }
    return RawData(root, "coco", [names[category] for category in sorted(names)], read_splits)


def _looks_like_coco(path: Path) -> bool:
    # The three keys may come in any order with gigabytes between them, so only a whole parse would be sure;
    # results files and label maps, the usual other JSON, are told apart by how they begin.
    with open(path, encoding="utf-8", errors="replace") as file:
        start = file.read(65536)
    return start.lstrip().startswith("{") and any(f'"{key}"' in start for key in ("images", "annotations"))


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        raise DataError(f"{path} is not COCO's JSON: it needs the lists images, annotations and categories")
    for category in content["categories"]:
        if not isinstance(category, dict) or not isinstance(category.get("id"), int) or "name" not in category:
            raise DataError(f"{path}: a category needs a whole number as id and a name, got {str(category)[:60]}")
    return content


def _read_split(
    content: dict[str, Any],
    source: Path,
    root: Path,
    label_of: dict[Any, int],
    reporter: Reporter,
    split: str,
) -> list[RawImage]:
    entries = [entry for entry in content["images"] if isinstance(entry, dict) and "file_name" in entry]
    folder = _picture_folder([str(entry["file_name"]) for entry in entries[:20]], source, root)
    images: dict[Any, RawImage] = {}
    for position, entry in enumerate(entries):
        identity = entry.get("id")
        size = (entry.get("width"), entry.get("height"))
        written = (size[0], size[1]) if isinstance(size[0], int) and isinstance(size[1], int) else None
        image_id = identity if isinstance(identity, int) else position
        images[identity] = RawImage(folder / str(entry["file_name"]), image_id, source, written_size=written)
    for position, annotation in enumerate(content["annotations"]):
        identity = annotation.get("id", f"at position {position}")
        place = f"annotation {identity}"
        image = images.get(annotation.get("image_id"))
        if image is None:
            message = f"{place}: no picture has the id {annotation.get('image_id')}"
            reporter.report("missing-image", source, message, split)
            continue
        box = _numbers(annotation.get("bbox"))
        label = label_of.get(annotation.get("category_id"))
        if box is None:
            message = f"{place}: bbox {str(annotation.get('bbox'))[:60]} is not four finite numbers"
            reporter.report("bad-label", source, message, split)
        elif label is None:
            message = f"{place}: category {annotation.get('category_id')} is not among the categories"
            reporter.report("unknown-class", source, message, split)
        else:
            x, y, width, height = box
            image.add(
                (x, y, x + width, y + height),
                label,
                place,
                crowd=bool(annotation.get("iscrowd", 0)),
                area=_area(annotation.get("area")),
            )
    return list(images.values())


def _numbers(value: Any) -> tuple[float, float, float, float] | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    try:
        numbers = (float(value[0]), float(value[1]), float(value[2]), float(value[3]))
    except (TypeError, ValueError):
        return None
    return numbers if all_finite(numbers) else None


def _area(value: Any) -> float | None:
    """The stated area; None where it is missing or impossible."""
    if isinstance(value, int | float) and 0 < value < float("inf"):
        return float(value)
    return None


def _picture_folder(names: Sequence[str], source: Path, root: Path) -> Path:
    """Return the folder that holds most of the named pictures."""
    written = source.stem.removeprefix("instances_")
    standard = standard_split(written)
    candidates = [root / "images" / written, root / written, root / "images" / standard, root / standard]
    candidates += [source.parent, root / "images", root / "JPEGImages", root]
    found = {place: sum((place / name).is_file() for name in names) for place in dict.fromkeys(candidates)}
    best = max(found, key=lambda place: found[place])
    if names and found[best] == 0:
        looked = ", ".join(str(place) for place in found if place.is_dir())
        raise DataError(f"{source}: none of its first {len(names)} pictures ({names[0]} ...) is in {looked}")
    return best

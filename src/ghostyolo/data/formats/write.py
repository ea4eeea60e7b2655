"""Writes labelled pictures in YOLO, COCO or Pascal VOC layout.

The readers beside this file read them.

Layouts of the pictures: YOLO and COCO ``images/SPLIT``, VOC ``JPEGImages``. The file that makes a folder a
data set (data.yaml, the JSON, ImageSets) is written last, so an interrupted run leaves none that looks
whole.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ghostyolo.data.listing import is_hidden
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import ConfigError, OutputError, suggest
from ghostyolo.files import atomic_path, free_stem, make_output_folder, write_text
from ghostyolo.text import printable

LAYOUTS = ("yolo", "coco", "voc")
# Bytes of a name, of the 255 that file systems take; the rest is for a split's name, a number and an ending.
_LONGEST_STEM = 200
_log = logging.getLogger(__name__)


def check_layout(layout: str) -> None:
    """Raise :class:`ConfigError` unless the layout is known."""
    if layout not in LAYOUTS:
        raise ConfigError(f"unknown layout '{layout}': {suggest(layout, LAYOUTS)}")


def image_folder(out: str | os.PathLike[str], layout: str, split: str) -> Path:
    """Return the folder where the pictures of a split belong.

    Raises:
        ConfigError: unknown layout.
    """
    check_layout(layout)
    return Path(out) / "JPEGImages" if layout == "voc" else Path(out) / "images" / split


def make_empty_folder(out: str | os.PathLike[str]) -> Path:
    """Make the folder for a new data set.

    Raises:
        OutputError: it cannot be made, or holds something already: old pictures would mix with the new.
    """
    refuse_full_folder(Path(out))
    return make_output_folder(out)


def refuse_full_folder(out: Path) -> None:
    """Raise :class:`OutputError` where a folder holds something."""
    if out.is_dir() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty: choose a new folder, or delete it first")


def write_annotations(
    out: str | os.PathLike[str],
    layout: str,
    class_names: Sequence[str],
    splits: Mapping[str, Sequence[ImageRecord]],
) -> None:
    """Write the labels of pictures that lie in :func:`image_folder`.

    Each has a stem of its own.

    Args:
        out: the data set's folder.
        layout: ``"yolo"``, ``"coco"`` or ``"voc"``. YOLO cannot say ``ignore``: crowds are left out, and what is
            difficult becomes an object as any other.
        class_names: one a label.
        splits: records by split; boxes in pixels.

    Raises:
        ConfigError: unknown layout.
        OutputError: cannot be written.
    """
    check_layout(layout)
    writer = {"yolo": _write_yolo, "coco": _write_coco, "voc": _write_voc}[layout]
    writer(Path(out), list(class_names), splits)


def write_dataset(
    data: DetectionData, out: str | os.PathLike[str], layout: str = "yolo", *, link: bool = False
) -> DetectionData:
    """Copy a data set, pictures and labels, into a new folder of any layout.

    Pictures keep their bytes and, where they do not clash, their names.

    Args:
        data: what to copy.
        out: the new folder.
        layout: ``"yolo"``, ``"coco"`` or ``"voc"``.
        link: see :func:`place_picture`.

    Returns:
        The data set as written.

    Raises:
        ConfigError: unknown layout.
        OutputError: the folder is not empty or cannot be written.
    """
    check_layout(layout)
    out = make_empty_folder(out)
    used: set[tuple[Path, str]] = set()
    splits: dict[str, list[ImageRecord]] = {}
    for split, records in data.splits.items():
        splits[split] = []
        folder = image_folder(out, layout, split)
        folder.mkdir(parents=True, exist_ok=True)
        for record in records:
            stem = _legal_stem(record.path.stem)
            if (folder, stem) in used:
                stem = free_stem(f"{split}_{stem}", lambda name: (folder, name) in used)  # noqa: B023
            used.add((folder, stem))
            target = folder / f"{stem}{record.path.suffix}"
            place_picture(record.path, target, link=link)
            splits[split].append(replace(record, path=target))
    write_annotations(out, layout, data.class_names, splits)
    return DetectionData(out, layout, list(data.class_names), splits)


def place_picture(source: Path, target: Path, *, link: bool = False) -> None:
    """Copy a picture, or make a hard link to it.

    That is the same file under a second name, which outlives the first.

    Raises:
        OutputError: cannot be written, or linked where the file system has no links or is another one.
    """
    if not link:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
        return
    try:
        os.link(source.resolve(), target)  # resolved: a link to a symbolic link would break with it
    except OSError as error:
        raise OutputError(f"cannot link {source} into {target.parent}: {error.strerror or error}; copy it instead, "
                          "without --link") from error  # fmt: skip


def _legal_stem(stem: str) -> str:
    """A stem that every list can hold and no listing passes over, with room for a split's name and an ending."""
    stem = "".join("_" if printable(letter) != letter else letter for letter in stem).strip() or "_"
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    return "_" + stem[1:] if is_hidden(stem) else stem


def _write_yolo(out: Path, class_names: list[str], splits: Mapping[str, Sequence[ImageRecord]]) -> None:
    left_out = 0
    for split, records in splits.items():
        for record in records:
            rows = []
            for box, label, crowd in zip(
                record.boxes_xyxy.tolist(), record.labels.tolist(), record.crowd.tolist(), strict=True
            ):
                if crowd:
                    left_out += 1
                    continue
                x1, y1, x2, y2 = box
                centre = (x1 + x2) / 2 / record.width, (y1 + y2) / 2 / record.height
                sides = (x2 - x1) / record.width, (y2 - y1) / record.height
                rows.append(" ".join([str(label), *(f"{value:.8g}" for value in (*centre, *sides))]))
            write_text(out / "labels" / split / f"{record.path.stem}.txt", "".join(f"{row}\n" for row in rows))
    if left_out:
        _log.warning("%d crowds left out: YOLO labels cannot mark them", left_out)
    content = {split: f"images/{split}" for split in splits}
    names = dict(enumerate(class_names))
    text = yaml.safe_dump({"path": ".", **content, "names": names}, sort_keys=False, width=math.inf)
    write_text(out / "data.yaml", text)


def _write_coco(out: Path, class_names: list[str], splits: Mapping[str, Sequence[ImageRecord]]) -> None:
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(class_names)]
    for split, records in splits.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, record in enumerate(records, start=1):
            images.append(
                {
                    "id": image_id,
                    "file_name": record.path.name,
                    "width": record.width,
                    "height": record.height,
                }
            )
            for box, label, ignore, area in zip(
                record.boxes_xyxy.tolist(),
                record.labels.tolist(),
                record.ignore.tolist(),
                record.areas.tolist(),
                strict=True,
            ):
                x1, y1, x2, y2 = box
                bbox = [round(value, 5) for value in (x1, y1, x2 - x1, y2 - y1)]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": label + 1,
                        "bbox": bbox,
                        "area": round(area, 3),
                        "iscrowd": int(ignore),
                    }
                )
        content = {"images": images, "annotations": annotations, "categories": categories}
        write_text(out / "annotations" / f"instances_{split}.json", json.dumps(content, ensure_ascii=False))


def _write_voc(out: Path, class_names: list[str], splits: Mapping[str, Sequence[ImageRecord]]) -> None:
    for records in splits.values():
        for record in records:
            root = ElementTree.Element("annotation")
            ElementTree.SubElement(root, "folder").text = "JPEGImages"
            ElementTree.SubElement(root, "filename").text = record.path.name
            size = ElementTree.SubElement(root, "size")
            for key, value in (("width", record.width), ("height", record.height), ("depth", 3)):
                ElementTree.SubElement(size, key).text = str(value)
            for box, label, ignore in zip(
                record.boxes_xyxy.tolist(), record.labels.tolist(), record.ignore.tolist(), strict=True
            ):
                item = ElementTree.SubElement(root, "object")
                ElementTree.SubElement(item, "name").text = class_names[label]
                ElementTree.SubElement(item, "difficult").text = str(int(ignore))
                bounds = ElementTree.SubElement(item, "bndbox")
                for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                    ElementTree.SubElement(bounds, key).text = f"{round(value, 5):.10g}"
            ElementTree.indent(root)
            text = ElementTree.tostring(root, encoding="unicode") + "\n"
            write_text(out / "Annotations" / f"{record.path.stem}.xml", text)
    # Without the list a reader would know only the classes that happen to occur.
    write_text(out / "classes.txt", "".join(f"{name}\n" for name in class_names))
    for split, records in splits.items():
        stems = "".join(f"{record.path.stem}\n" for record in records)
        write_text(out / "ImageSets" / "Main" / f"{split}.txt", stems)

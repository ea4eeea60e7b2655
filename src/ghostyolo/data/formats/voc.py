"""Pascal VOC layout: ``Annotations/*.xml``, ``JPEGImages``, ``ImageSets/Main/SPLIT.txt`` (a stem a line).

Coordinates are taken as they are written: x from xmin to xmax, y from ymin to ymax, nothing subtracted.
VOC's own files count pixels from 1 with xmax included, so a box could be read as [xmin - 1, xmax]; today's
tools write and score the plain numbers, and half a pixel matters less than agreeing with them.
``difficult`` becomes ``ignore``. Without a ``classes.txt`` (or ``labels.txt``) the class names are those in
all the XML files, sorted. Format: the PASCAL VOC development kit, section 4.
"""

from __future__ import annotations

import contextlib
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ghostyolo.data.formats.raw import RawData, RawImage, Reporter, all_finite, choose_splits
from ghostyolo.data.images import IMAGE_SUFFIXES

_KNOWN_SPLITS = ("train", "val", "test", "trainval")


@dataclass
class _Object:
    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    place: str


@dataclass
class _Annotation:
    filename: str
    size: tuple[int, int] | None
    objects: list[_Object]
    faults: list[str]


def find(folder: Path) -> bool:
    """Whether the folder has VOC's annotations."""
    place = folder / "Annotations"
    return place.is_dir() and any(entry.name.endswith(".xml") for entry in os.scandir(place))


def read(root: Path, splits: Sequence[str] | None, reporter: Reporter) -> RawData:
    """Parse a VOC data set.

    Raises:
        DataError: an unknown split was asked for, or an XML is bad and the reporter strict.
    """
    stems = sorted(path.stem for path in (root / "Annotations").glob("*.xml"))
    offered = _splits(root, stems)
    chosen = choose_splits(list(offered), splits, root)
    if splits is None and "trainval" in chosen and len(chosen) > 1:
        chosen.remove("trainval")  # the union of two others
    split_of = {stem: split for split in chosen for stem in offered[split]}
    annotations: dict[str, _Annotation] = {}
    for stem in stems:
        path = root / "Annotations" / f"{stem}.xml"
        try:
            annotations[stem] = _parse(path)
        except (ElementTree.ParseError, OSError, UnicodeDecodeError) as error:
            reporter.report("bad-label", path, f"is not readable XML ({error})", split_of.get(stem, ""))
            annotations[stem] = _Annotation("", None, [], [])
    class_names = _listed_names(root) or sorted(
        {item.name for annotation in annotations.values() for item in annotation.objects}
    )
    label_of = {name: label for label, name in enumerate(class_names)}
    folder = next((root / name for name in ("JPEGImages", "images", "Images") if (root / name).is_dir()), root)
    pictures = {
        os.path.splitext(entry.name)[0]: entry.name
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
        if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES
    }
    read_splits: dict[str, list[RawImage]] = {}
    for split in chosen:
        images = []
        for index, stem in enumerate(offered[split]):
            source = root / "Annotations" / f"{stem}.xml"
            annotation = annotations.get(stem) or _Annotation("", None, [], [])
            # The list's stem names the picture; <filename> is often stale after renaming.
            name = pictures.get(stem) or (annotation.filename or f"{stem}.jpg")
            raw = RawImage(folder / name, index, source, written_size=annotation.size)
            for fault in annotation.faults:
                reporter.report("bad-label", source, fault, split)
            for item in annotation.objects:
                if item.name in label_of:
                    raw.add(item.box, label_of[item.name], item.place, difficult=item.difficult)
                else:
                    message = f"{item.place}: class '{item.name}' is not in the list of class names"
                    reporter.report("unknown-class", source, message, split)
            images.append(raw)
        read_splits[split] = images
    return RawData(root, "voc", class_names, read_splits)


def _splits(root: Path, stems: list[str]) -> dict[str, list[str]]:
    lists = {path.stem: path for path in sorted((root / "ImageSets" / "Main").glob("*.txt"))}
    names = [name for name in _KNOWN_SPLITS if name in lists]
    # Beside the splits VOC lists pictures for each class (cat_train.txt); other names count only when alone.
    names = names or [name for name in lists if not name.endswith(tuple(f"_{known}" for known in _KNOWN_SPLITS))]
    if not names:
        return {"all": stems}
    return {
        name: [line.split()[0] for line in lists[name].read_text(encoding="utf-8").splitlines() if line.strip()]
        for name in names
    }


def _listed_names(root: Path) -> list[str]:
    for name in ("classes.txt", "labels.txt", "labelmap.txt"):
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8").splitlines()
            return [line.strip() for line in lines if line.strip()]
    return []


def _parse(path: Path) -> _Annotation:
    tree = ElementTree.parse(path).getroot()
    size = None
    with contextlib.suppress(ValueError):  # the written size is only compared with the file's
        size = (int(tree.findtext("size/width", "")), int(tree.findtext("size/height", "")))
    annotation = _Annotation((tree.findtext("filename") or "").strip(), size, [], [])
    for number, item in enumerate(tree.iterfind("object"), start=1):
        place = f"object {number}"
        name = (item.findtext("name") or "").strip()
        try:
            xmin, ymin, xmax, ymax = (
                float(item.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax")
            )
        except ValueError:
            annotation.faults.append(f"{place}: bndbox is not four numbers")
            continue
        if not all_finite((xmin, ymin, xmax, ymax)):
            annotation.faults.append(f"{place}: bndbox has a NaN or infinity")
        elif not name:
            annotation.faults.append(f"{place}: has no name")
        else:
            difficult = (item.findtext("difficult") or "0").strip() == "1"
            annotation.objects.append(_Object(name, (xmin, ymin, xmax, ymax), difficult, place))
    return annotation

"""Pascal VOC layout: ``Annotations/*.xml``, ``JPEGImages``, ``ImageSets/Main/SPLIT.txt`` (a stem a line).

Coordinates are taken as they are written: x from xmin to xmax, y from ymin to ymax, nothing subtracted.
VOC's own files count pixels from 1 with xmax included, so a box could be read as [xmin - 1, xmax]; today's
tools write and score the plain numbers, and half a pixel matters less than agreeing with them.
``difficult`` becomes ``ignore``. Class names are those of a ``classes.txt``, ``labels.txt`` or CVAT's ``labelmap.txt``,
else those in all the XML files, sorted. Format: the PASCAL VOC development kit, section 4.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.raw import (
    Box,
    RawData,
    RawImage,
    all_finite,
    as_flag,
    as_size,
    choose_splits,
    merge_entries,
    report_passed,
)
from ghostyolo.data.images import IMAGE_SUFFIXES, read_image_info
from ghostyolo.data.listing import is_hidden, list_files, suffix_of
from ghostyolo.errors import DataError, short_list
from ghostyolo.text import Names, TextError, read_lines, read_xml

_KNOWN_SPLITS = ("train", "val", "test", "trainval")
# A row of CVAT's labelmap.txt: name:red,green,blue:parts:actions.
_LABELMAP_ROW = re.compile(r"^(.*?):((?:\d+,\d+,\d+)?):[^:]*:[^:]*$")


@dataclass
class _Object:
    name: str
    box: Box
    difficult: bool
    place: str


@dataclass
class _Annotation:
    filename: str
    size: tuple[int, int] | None
    objects: list[_Object]
    faults: list[str]
    readable: bool = True


def find(folder: Path) -> bool:
    """Whether the folder has VOC's annotations."""
    return bool(_annotations(folder))


def read(root: Path, splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Parse a VOC data set.

    Raises:
        DataError: an unknown split was asked for.
        TextError: a list cannot be read.
    """
    annotations = _Stems(root / "Annotations", _annotations(root))
    folder = next((root / name for name in ("JPEGImages", "images", "Images") if (root / name).is_dir()), root)
    listing = list_files(folder, IMAGE_SUFFIXES, deep=True)
    report_passed(listing, folder, faults)
    pictures = _Stems(folder, listing.files)
    offered = _splits(root, annotations, pictures)
    chosen = choose_splits(list(offered), splits, root)
    if splits is None and "trainval" in chosen and len(chosen) > 1:
        chosen.remove("trainval")  # the union of two others
    # All are parsed, since the classes are those of the whole data set.
    parsed = {path: _parse(path) for path in annotations.paths}
    occurring = {item.name for annotation in parsed.values() for item in annotation.objects}
    class_names, list_name = _listed_names(root, occurring, faults)
    listed = f"{list_name} {short_list(class_names)}"
    class_names = class_names or sorted(occurring)
    label_of = {name: label for label, name in enumerate(class_names)}
    read_splits: dict[str, list[RawImage]] = {}
    for split in chosen:
        images = []
        for index, stem in enumerate(offered[split]):
            source = _only(annotations.find(stem), root / "Annotations" / f"{stem}.xml", faults, split)
            if source not in parsed:
                named = pictures.find(stem)
                place = named[0] if named else folder / f"{stem}.jpg"
                faults.report("missing-labels", place, f"has no annotation {source}", split)
                continue
            annotation = parsed[source]
            for fault in annotation.faults:
                faults.report("bad-label", source, fault, split)
            if not annotation.readable:
                continue
            picture = _picture(stem, annotation, pictures, source, faults, split)
            raw = RawImage(picture, index, source, written_size=annotation.size)
            for item in annotation.objects:
                if item.name in label_of:
                    raw.add(item.box, label_of[item.name], item.place, difficult=item.difficult)
                else:
                    message = f"{item.place}: class '{item.name}' is not in the list {listed}"
                    faults.report("unknown-class", source, message, split)
            images.append(raw)
        read_splits[split] = merge_entries(images, faults, split)
    if splits is None:
        _report_unlisted(root, offered, annotations, pictures, faults)
    return RawData(root, "voc", class_names, read_splits)


class _Stems:
    """Files of a folder by their path without ending; a stem alone also finds what lies in a subfolder."""

    def __init__(self, folder: Path, paths: Iterable[Path]) -> None:
        self.folder = folder
        self.paths = list(paths)
        self._exact: dict[str, list[Path]] = {}
        self._short: dict[str, list[Path]] = {}
        for path in self.paths:
            stem = os.path.splitext(path.relative_to(folder).as_posix())[0]
            self._exact.setdefault(stem, []).append(path)
            self._short.setdefault(os.path.basename(stem), []).append(path)
        self._names = Names(self._exact)

    def __iter__(self) -> Iterator[str]:
        return iter(self._exact)

    def find(self, stem: str) -> list[Path]:
        """Return the files of a stem: one, several where it is not clear which, or none."""
        name = self._names.find(stem)
        return self._exact[name] if name is not None else self._short.get(os.path.basename(stem), [])


def _annotations(root: Path) -> list[Path]:
    return list_files(root / "Annotations", (".xml",), deep=True).files


def _only(paths: list[Path], otherwise: Path, faults: FaultList, split: str) -> Path:
    if len(paths) > 1:
        faults.report("ambiguous", paths[0], f"is one of two annotations of a picture, the other is {paths[1]}", split)
    return paths[0] if paths else otherwise


def _picture(stem: str, annotation: _Annotation, pictures: _Stems, source: Path, faults: FaultList, split: str) -> Path:
    """Return the picture of an annotation: that of its stem, of which ``<filename>`` and size choose."""
    # The list's stem names the picture; <filename> is often stale after renaming.
    filename = os.path.basename(annotation.filename.replace("\\", "/"))
    paths = pictures.find(stem) or pictures.find(os.path.splitext(filename)[0])
    if not paths:
        return pictures.folder / (filename or f"{stem}.jpg")
    if len(paths) == 1:
        return paths[0]
    named = [path for path in paths if path.name == filename] or paths
    sized = [path for path in named if annotation.size is not None and annotation.size in _sizes(path)]
    if len(sized) == 1 or len(named) == 1:
        return (sized or named)[0]
    message = f"may be of {named[0].name} or of {named[1].name}: delete one, or name it in <filename>"
    faults.report("ambiguous", source, message, split)
    return named[0]


def _sizes(path: Path) -> tuple[tuple[int, int], ...]:
    try:
        info = read_image_info(path)
    except DataError:
        return ()
    return (info.size, info.stored_size)


def _splits(root: Path, annotations: _Stems, pictures: _Stems) -> dict[str, list[str]]:
    folder = root / "ImageSets" / "Main"
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    lists = {path.stem: path for path in entries if suffix_of(path.name) == ".txt" and not is_hidden(path.name)}
    names = [name for name in _KNOWN_SPLITS if name in lists]
    # Beside the splits VOC lists pictures for each class (cat_train.txt); other names count only when alone.
    names = names or [name for name in lists if not name.endswith(tuple(f"_{known}" for known in _KNOWN_SPLITS))]
    if not names:
        return {"all": sorted(annotations)}
    return {
        name: [_stem(line, annotations, pictures) for line in read_lines(lists[name]) if line.strip()] for name in names
    }


def _stem(line: str, annotations: _Stems, pictures: _Stems) -> str:
    """Return the stem that a list's line means: names may have spaces, and lists of a class end in 1 or -1."""
    text = line.strip()
    without_suffix = os.path.splitext(text)[0] if suffix_of(text) in IMAGE_SUFFIXES else text
    for stem in dict.fromkeys((line, text, without_suffix, text.rsplit(maxsplit=1)[0], text.split()[0])):
        if annotations.find(stem) or pictures.find(stem):
            return stem
    return text


def _listed_names(root: Path, occurring: set[str], faults: FaultList) -> tuple[list[str], str]:
    """Return the names that a file lists, and the file's name."""
    for file_name in ("classes.txt", "labels.txt", "labelmap.txt"):
        path = root / file_name
        if path.is_file():
            names = [line.strip() for line in read_lines(path) if line.strip()]
            rows = [_LABELMAP_ROW.match(name) for name in names if not name.startswith("#")]
            if file_name == "labelmap.txt" and rows and all(rows):
                names = [row[1] for row in rows if row]
                # CVAT lists it for its masks; no box is of it.
                names = [name for name in names if name != "background" or name in occurring]
            unique = list(dict.fromkeys(names))
            if len(unique) < len(names):
                doubled = next(name for name in unique if names.count(name) > 1)
                faults.report("doubled-class", path, f"lists '{doubled}' twice")
            return unique, file_name
    return [], ""


def _report_unlisted(
    root: Path, offered: dict[str, list[str]], annotations: _Stems, pictures: _Stems, faults: FaultList
) -> None:
    """Count the pictures that no list names, or that have no annotation where there are no lists."""
    listed = {path for stems in offered.values() for stem in stems for path in pictures.find(stem)}
    unlisted = [path for path in pictures.paths if path not in listed]
    if unlisted:
        reason = "have no annotation" if list(offered) == ["all"] else "are in no list of ImageSets/Main"
        faults.report("not-read", root, f"{len(unlisted)} pictures {reason}, such as {unlisted[0].name}", "",
                      len(unlisted))  # fmt: skip


def _parse(path: Path) -> _Annotation:
    try:
        tree = read_xml(path)
    except TextError as error:
        return _Annotation("", None, [], [error.reason], readable=False)
    size = as_size(tree.findtext("size/width"), tree.findtext("size/height"))
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
            difficult = as_flag(item.findtext("difficult"))
            annotation.objects.append(_Object(name, (xmin, ymin, xmax, ymax), difficult, place))
    return annotation

"""Pascal VOC layout: an XML file a picture, in any folder or beside it.

Splits are lists (``ImageSets/Main/SPLIT.txt``, a stem a line), else the names of folders.

Coordinates are taken as they are written: x from xmin to xmax, y from ymin to ymax, nothing subtracted.
VOC's own files count pixels from 1 with xmax included, so a box could be read as [xmin - 1, xmax]; today's
tools write and score the plain numbers, and half a pixel matters less than agreeing with them.
``difficult`` becomes ``ignore``. Class names are those of a ``classes.txt``, ``labels.txt`` or CVAT's ``labelmap.txt``,
else those in all the XML files, sorted. Format: the PASCAL VOC development kit, section 4.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.entries import UNNAMED_SPLIT, sizes_of
from ghostyolo.data.formats.folder import Folder, read_head, sample
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
from ghostyolo.data.images import IMAGE_SUFFIXES
from ghostyolo.data.listing import suffix_of
from ghostyolo.errors import short_list
from ghostyolo.text import TextError, name_key, read_lines, read_xml

_LIST_FOLDERS = ("main", "imagesets")
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


def find(folder: Folder) -> list[Path]:
    """Return the XML files, where their root is VOC's."""
    files = folder.files(".xml")
    if not any("<annotation>" in read_head(path) or "<annotation " in read_head(path) for path in sample(files)):
        return []
    return [path for path in files if "<annotations" not in read_head(path)]


def read(folder: Folder, files: Sequence[Path], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Parse a VOC data set, see :class:`ghostyolo.data.formats.layout.Layout`.

    Raises:
        DataError: an unknown split was asked for.
        TextError: a list cannot be read.
    """
    annotations = _Stems(folder.root, files)
    lists = _lists(folder, annotations)
    offered = list(lists) or list(dict.fromkeys(_split_of(path, folder) for path in files))
    chosen = choose_splits(offered, splits, folder.root)
    if splits is None and "trainval" in chosen and ("train" in chosen or "val" in chosen):
        chosen.remove("trainval")  # the union of two others
    # All are parsed, since the classes are those of the whole data set.
    parsed = {path: _parse(path) for path in annotations.paths}
    occurring = {item.name for annotation in parsed.values() for item in annotation.objects}
    class_names, list_name = _listed_names(folder, occurring, faults)
    listed = f"{list_name} {short_list(class_names)}"
    class_names = class_names or sorted(occurring)
    label_of = {name: label for label, name in enumerate(class_names)}
    read_splits: dict[str, list[RawImage]] = {}
    for split in chosen:
        images = []
        sources = _listed(lists[split], annotations, folder, faults, split) if lists else [
            path for path in files if _split_of(path, folder) == split]  # fmt: skip
        for index, source in enumerate(sources):
            annotation = parsed[source]
            for fault in annotation.faults:
                faults.report("bad-label", source, fault, split)
            if not annotation.readable:
                continue
            picture = _picture(annotation, folder, source, faults, split)
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
        reason = "are in no list of ImageSets/Main" if lists else "have no annotation"
        report_left_over(folder, read_splits, faults, reason)
    return RawData(folder.root, "voc", class_names, read_splits)


class _Stems:
    """Annotation files by their path without ending, and by the last part of it."""

    def __init__(self, root: Path, paths: Iterable[Path]) -> None:
        self.paths = list(paths)
        self._by_stem: dict[str, list[tuple[str, Path]]] = {}
        for path in self.paths:
            self._by_stem.setdefault(name_key(path.stem), []).append((_without_ending(path), path))

    def find(self, stem: str) -> list[Path]:
        """Return the files of a stem: one, several where it is not clear which, or none."""
        pairs = self._by_stem.get(name_key(os.path.basename(stem)), [])
        exact = [pair for pair in pairs if pair[1].stem == os.path.basename(stem)]
        pairs = exact or (pairs if len(pairs) == 1 else [])
        full = [path for written, path in pairs if written.endswith("/" + stem)] or [path for _, path in pairs]
        depth = min((len(path.parts) for path in full), default=0)
        shallow = [path for path in full if len(path.parts) == depth]
        return shallow if len(shallow) == 1 else full


def _split_of(path: Path, folder: Folder) -> str:
    """The split that the folders of an annotation say."""
    return folder.split_of(path) or UNNAMED_SPLIT


def _without_ending(path: Path) -> str:
    return os.path.splitext(path.as_posix())[0]


def _lists(folder: Folder, annotations: _Stems) -> dict[str, list[str]]:
    """The stems that text files list for each split."""
    texts = [path for path in folder.files(".txt") if path.parent.name.casefold() in _LIST_FOLDERS]
    if not texts:
        beside = [path for path in folder.files(".txt") if path.parent == folder.root]
        texts = [path for path in beside if path.stem.casefold() in _KNOWN_SPLITS]
        texts = [path for path in texts if any(annotations.find(line.strip()) for line in read_lines(path)[:5])]
    names = [name for name in _KNOWN_SPLITS if any(path.stem.casefold() == name for path in texts)]
    # Beside the splits VOC lists pictures for each class (cat_train.txt); other names count only when alone.
    of_class = tuple(f"_{known}" for known in _KNOWN_SPLITS)
    others = [path.stem.casefold() for path in texts if not path.stem.casefold().endswith(of_class)]
    lists: dict[str, list[str]] = {}
    for name in names or dict.fromkeys(others):
        lines = [line for path in texts if path.stem.casefold() == name for line in read_lines(path)]
        lists[name] = [line for line in lines if line.strip()]
    return lists


def _listed(lines: Sequence[str], annotations: _Stems, folder: Folder, faults: FaultList, split: str) -> list[Path]:
    """Return the annotation of each line of a list."""
    sources = []
    for line in lines:
        stem = _stem(line, annotations, folder)
        paths = annotations.find(stem)
        if len(paths) > 1:
            message = f"is one of two annotations of a picture, the other is {paths[1]}"
            faults.report("ambiguous", paths[0], message, split)
        if paths:
            sources.append(paths[0])
            continue
        named = folder.find_pictures(stem, folder.root / stem, stem=True)
        faults.report(
            "missing-labels", named[0] if named else folder.root / stem, f"has no annotation {stem}.xml", split
        )
    return sources


def _stem(line: str, annotations: _Stems, folder: Folder) -> str:
    """Return the stem that a list's line means: names may have spaces, and lists of a class end in 1 or -1."""
    text = line.strip()
    without_suffix = os.path.splitext(text)[0] if suffix_of(text) in IMAGE_SUFFIXES else text
    for stem in dict.fromkeys((line, text, without_suffix, text.rsplit(maxsplit=1)[0], text.split()[0])):
        if annotations.find(stem) or folder.find_pictures(stem, folder.root / stem, stem=True):
            return stem
    return text


def _picture(annotation: _Annotation, folder: Folder, source: Path, faults: FaultList, split: str) -> Path:
    """Return the picture of an annotation: that of its stem, of which ``<filename>`` and size choose."""
    # The XML's stem names the picture; <filename> is often stale after renaming.
    filename = os.path.basename(annotation.filename.replace("\\", "/"))
    written = _without_ending(source.relative_to(folder.root) if source.is_relative_to(folder.root) else source)
    paths = folder.find_pictures(written, source, split, stem=True) or folder.find_pictures(filename, source, split)
    if not paths:
        return folder.expected(filename or f"{source.stem}.jpg", source)
    if len(paths) == 1:
        return paths[0]
    named = [path for path in paths if path.name == filename] or paths
    sized = [path for path in named if annotation.size is not None and annotation.size in sizes_of(path)]
    if len(sized) == 1 or len(named) == 1:
        return (sized or named)[0]
    message = f"may be of {named[0].name} or of {named[1].name}: delete one, or name it in <filename>"
    faults.report("ambiguous", source, message, split)
    return named[0]


def _listed_names(folder: Folder, occurring: set[str], faults: FaultList) -> tuple[list[str], str]:
    """Return the names that a file lists, and the file's name."""
    for file_name in ("classes.txt", "labels.txt", "labelmap.txt"):
        for path in folder.named(file_name)[:1]:
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


LAYOUT = Layout("voc", "Pascal VOC", "*.xml of one picture each", find, read)

"""Open Images layout: ``train-annotations-bbox.csv`` with ImageID, LabelName and corners in fractions.

``LabelName`` is a code such as ``/m/011k07``; a ``class-descriptions*.csv`` (FiftyOne: ``classes.csv``) gives its name.
``IsGroupOf`` becomes ``crowd``. Pictures are ``ImageID.jpg``; rows of pictures that are not there are counted, since
the file of a whole split goes with any part of its pictures. Format: storage.googleapis.com/openimages, "Boxes".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.csv import rows_of
from ghostyolo.data.formats.entries import Entry, Object, gather
from ghostyolo.data.formats.folder import Folder, first_line, read_head, split_named
from ghostyolo.data.formats.layout import Layout
from ghostyolo.data.formats.raw import RawData, as_flag
from ghostyolo.errors import DataError
from ghostyolo.text import read_lines

_NEEDED = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")


def find(folder: Folder) -> list[Path]:
    """Return the CSV files of boxes."""
    heads = folder.heads(".csv")
    return [path for path, head in heads if set(_NEEDED) <= set(first_line(head).strip().split(","))]


def read(folder: Folder, files: Sequence[Path], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Parse the boxes of the pictures that are there, see :class:`ghostyolo.data.formats.layout.Layout`."""
    names = _class_names(folder, files[0])
    entries = [entry for path in files for entry in _entries(path, folder, names, faults)]
    if not entries:
        raise DataError(f"{files[0]}: none of its pictures is below {folder.root}")
    return gather(folder, "open-images", entries, splits, faults)


def _class_names(folder: Folder, boxes: Path) -> dict[str, str]:
    """The name of each code."""
    names: dict[str, str] = {}
    beside = [path for path in boxes.parent.glob("*.csv") if path != boxes]
    for path in dict.fromkeys([*folder.files(".csv"), *beside]):
        if read_head(path).startswith(("/m/", "/g/", "/t/", "LabelName,DisplayName")):
            for row in rows_of(read_lines(path)):
                if len(row) >= 2:
                    names.setdefault(row[0], row[1].strip())
    return names


def _entries(path: Path, folder: Folder, names: dict[str, str], faults: FaultList) -> Iterator[Entry]:
    rows = rows_of(read_lines(path))
    place_of = {name: place for place, name in enumerate(rows[0])}
    split, known, absent = split_named(path.stem), {picture.stem for picture in folder.pictures}, 0
    entries: dict[str, Entry] = {}
    for number, row in enumerate(rows[1:], start=2):
        value = {name: row[place].strip() for name, place in place_of.items() if place < len(row)}
        picture = value.get("ImageID", "")
        if picture not in known:
            absent += bool(picture)
            continue
        entry = entries.setdefault(picture, Entry([picture], path, split=split, normalised=True))
        try:
            x1, x2, y1, y2 = (float(value.get(key, "")) for key in _NEEDED[2:])
        except ValueError:
            entry.faults.append(f"row {number}: XMin, XMax, YMin, YMax are not four numbers")
            continue
        code = value.get("LabelName", "")
        crowd = as_flag(value.get("IsGroupOf")) and value.get("IsGroupOf") != "-1"  # -1: nobody looked
        entry.add(Object(names.get(code, code), (x1, y1, x2, y2), f"row {number}", crowd=crowd))
    if absent:
        faults.report("not-read", path, f"{absent} rows of pictures that are not here", split, absent)
    return iter(entries.values())


LAYOUT = Layout("open-images", "Open Images", "*-annotations-bbox.csv with ImageID, LabelName, XMin ...", find, read)

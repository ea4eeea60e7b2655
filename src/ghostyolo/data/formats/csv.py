"""CSV layout: a row an object.

Roboflow (``_annotations.csv``) and TensorFlow's tutorials (``train_labels.csv``) have it. Columns are known by their
names: ``filename, width, height, class, xmin, ymin, xmax, ymax`` in any order and case, corners in pixels. A row
without a class and box is a picture without objects. The split is that of the file's name or folder.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.entries import Entry, Object, gather
from ghostyolo.data.formats.folder import Folder, first_line, split_named
from ghostyolo.data.formats.layout import Layout
from ghostyolo.data.formats.raw import RawData, as_size
from ghostyolo.text import read_lines

# Names of each column, in small letters without marks between words.
_COLUMNS = {
    "picture": ("filename", "file", "image", "imagename", "imagepath", "path", "img", "imageid"),
    "class": ("class", "label", "name", "category", "classname", "labelname"),
    "x1": ("xmin", "x1", "left"),
    "y1": ("ymin", "y1", "top"),
    "x2": ("xmax", "x2", "right"),
    "y2": ("ymax", "y2", "bottom"),
    "width": ("width", "imagewidth", "imgwidth"),
    "height": ("height", "imageheight", "imgheight"),
}
_OPTIONAL = frozenset(("width", "height"))


def find(folder: Folder) -> list[Path]:
    """Return the CSV files whose first row names the columns."""
    return [path for path, head in folder.heads(".csv") if columns_of(first_line(head)) is not None]


def read(folder: Folder, files: Sequence[Path], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Parse the rows, see :class:`ghostyolo.data.formats.layout.Layout`."""
    return gather(folder, "csv", (entry for path in files for entry in _entries(path)), splits, faults)


def columns_of(header: str) -> dict[str, int] | None:
    """Return the place of each column, or None where one is missing."""
    if "LabelName" in header and "ImageID" in header:
        return None  # Open Images'
    fields = rows_of([header])
    names = ["".join(filter(str.isalnum, field.casefold())) for field in (fields[0] if fields else [])]
    places = {}
    for column, spellings in _COLUMNS.items():
        place = next((names.index(spelling) for spelling in spellings if spelling in names), None)
        if place is not None:
            places[column] = place
        elif column not in _OPTIONAL:
            return None
    return places


def rows_of(lines: Sequence[str]) -> list[list[str]]:
    """Split lines at commas, or at the semicolons that other languages' spreadsheets write."""
    semicolons = bool(lines) and lines[0].count(";") > lines[0].count(",")
    # A field may be long: segmentation masks stand in some columns.
    csv.field_size_limit(max(csv.field_size_limit(), *map(len, lines), 1))
    lines = [line.replace("\0", "") for line in lines]
    return list(csv.reader(lines, delimiter=";" if semicolons else ",", skipinitialspace=True))


def _entries(path: Path) -> Iterator[Entry]:
    lines = read_lines(path)
    places = columns_of(lines[0])
    assert places is not None
    split = split_named(path.stem)
    entries: dict[str, Entry] = {}
    for number, row in enumerate(rows_of(lines)[1:], start=2):
        if not any(field.strip() for field in row):
            continue
        value = {column: row[place].strip() if place < len(row) else "" for column, place in places.items()}
        size = as_size(value.get("width"), value.get("height"))
        entry = entries.setdefault(value["picture"], Entry([value["picture"]], path, size=size, split=split))
        corners = [value[column] for column in ("x1", "y1", "x2", "y2")]
        place = f"row {number}"
        if not value["picture"]:
            entry.faults.append(f"{place}: names no picture")
        elif any(corners) or value["class"]:
            try:
                x1, y1, x2, y2 = map(float, corners)
            except ValueError:
                entry.faults.append(f"{place}: the box {', '.join(corners)} is not four numbers")
            else:
                entry.add(Object(value["class"], (x1, y1, x2, y2), place))
    return iter(entries.values())


LAYOUT = Layout("csv", "CSV", "*.csv with filename, class, xmin, ymin, xmax, ymax", find, read)

"""labelme layout: a JSON a picture, with its ``shapes``.

It lies beside the picture or in a folder of its own.

Also what programs of its kind write (AnyLabeling, X-AnyLabeling). Rectangles are boxes; of polygons, circles and other
areas the enclosing box is taken; points and lines have none. Pictures that are only inside the JSON are not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.entries import Entry, Object, Shapes, enclosing_box, gather
from ghostyolo.data.formats.folder import Folder
from ghostyolo.data.formats.layout import Layout
from ghostyolo.data.formats.raw import Box, RawData, as_flag, as_size
from ghostyolo.text import TextError, read_json

_AREAS = ("polygon", "rotation", "mask", "linestrip")


def find(folder: Folder) -> list[Path]:
    """Return the JSON files with shapes."""
    heads = ((path, head) for path, head in folder.heads(".json") if head.lstrip().startswith("{"))
    return [path for path, head in heads if '"shapes"' in head or '"imageData"' in head]


def read(folder: Folder, files: Sequence[Path], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Parse the shapes, see :class:`ghostyolo.data.formats.layout.Layout`."""
    shapes = Shapes(faults)
    data = gather(folder, "labelme", _entries(files, shapes, faults), splits, faults)
    shapes.report(folder.root)
    return data


def _entries(files: Sequence[Path], shapes: Shapes, faults: FaultList) -> Iterator[Entry]:
    for path in files:
        try:
            content = read_json(path)
        except TextError as error:
            faults.report("bad-label", path, error.reason)
            continue
        written = content.get("imagePath")
        # The JSON is called like its picture; imagePath is often stale, and names the ending.
        names = [path.stem, *([written] if isinstance(written, str) and written else [])]
        size = as_size(content.get("imageWidth"), content.get("imageHeight"))
        entry = Entry(list(reversed(names)), path, size=size)
        items = content.get("shapes")
        for number, shape in enumerate(items if isinstance(items, list) else [], start=1):
            _add(entry, shape, f"shape {number}", shapes)
        yield entry


def _add(entry: Entry, shape: Any, place: str, shapes: Shapes) -> None:
    try:
        kind = str(shape.get("shape_type") or "polygon")
        points = [(float(x), float(y)) for x, y in shape["points"]]
        box = _box(kind, points)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        entry.faults.append(f"{place}: points are not pairs of numbers")
        return
    if box is None:
        shapes.left_out(kind)
        return
    if kind != "rectangle":
        shapes.boxed(kind)
    difficult = as_flag(shape.get("difficult"))  # X-AnyLabeling's
    entry.add(Object(str(shape.get("label") or "").strip(), box, place, difficult=difficult))


def _box(kind: str, points: list[tuple[float, float]]) -> Box | None:
    """The box around a shape; None where it has no area."""
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return (x - radius, y - radius, x + radius, y + radius)
    if len(points) < (3 if kind in ("polygon", "linestrip", "rotation") else 2) or kind in ("line", "point", "points"):
        return None
    return enclosing_box(points) if kind in ("rectangle", *_AREAS) else None


LAYOUT = Layout("labelme", "labelme", "*.json with shapes, a picture each", find, read)

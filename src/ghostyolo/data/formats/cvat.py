"""CVAT's own layout: ``annotations.xml`` of "CVAT for images 1.1" or "CVAT for video 1.1".

Boxes are ``xtl, ytl, xbr, ybr`` in pixels, turned by ``rotation`` degrees about their centre; of turned boxes,
polygons, ellipses and masks the enclosing box is taken. Frames of a track are pictures ``frame_000012`` where it is not
``outside``. Classes are those that the task's labels list, in their order. Format: docs.cvat.ai, "CVAT for image".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.entries import Entry, Object, Shapes, enclosing_box, gather
from ghostyolo.data.formats.folder import Folder, split_named
from ghostyolo.data.formats.layout import Layout
from ghostyolo.data.formats.raw import Box, RawData, as_size
from ghostyolo.text import read_xml

_SHAPES = ("box", "polygon", "ellipse", "mask", "polyline", "points", "cuboid", "skeleton")


def find(folder: Folder) -> list[Path]:
    """Return the XML files whose root is CVAT's."""
    return [path for path, head in folder.heads(".xml") if "<annotations>" in head or "<annotations " in head]


def read(folder: Folder, files: Sequence[Path], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Parse the pictures of each file, see :class:`ghostyolo.data.formats.layout.Layout`.

    Raises:
        TextError: a file is no XML.
    """
    shapes = Shapes(faults)
    trees = {path: read_xml(path) for path in files}
    listed = [label.findtext("name") or "" for tree in trees.values() for label in tree.iterfind("meta//labels/label")]
    entries = [entry for path, tree in trees.items() for entry in _entries(path, tree, shapes)]
    names = list(dict.fromkeys(name.strip() for name in listed if name.strip()))
    boxed = {item.name for entry in entries for item in entry.objects}
    data = gather(folder, "cvat", entries, splits, faults, [*names, *sorted(boxed - set(names))] if names else None)
    shapes.report(folder.root)
    return data


def _entries(path: Path, tree: Element, shapes: Shapes) -> Iterator[Entry]:
    for image in tree.iterfind("image"):
        name = image.get("name") or ""
        size = as_size(image.get("width"), image.get("height"))
        entry = Entry([name], path, size=size, split=split_named(image.get("subset") or "") or split_named(path.stem))
        _add_shapes(entry, image, f"image {image.get('id', '?')}", shapes)
        yield entry
    size = as_size(tree.findtext("meta//original_size/width"), tree.findtext("meta//original_size/height"))
    frames: dict[int, Entry] = {}
    for track in tree.iterfind("track"):
        for shape in track:
            written = shape.get("frame", "")
            if not written.isdecimal():
                continue
            names = [f"frame_{int(written):06d}", written]
            entry = frames.setdefault(int(written), Entry(names, path, size=size, split=split_named(path.stem)))
            if shape.get("outside") != "1":
                _add(entry, shape, track.get("label") or "", f"track {track.get('id', '?')}, frame {written}", shapes)
    for number in sorted(frames):
        yield frames[number]


def _add_shapes(entry: Entry, image: Element, place: str, shapes: Shapes) -> None:
    number = 0
    for shape in image:
        if shape.tag in _SHAPES:
            number += 1
            _add(entry, shape, shape.get("label") or "", f"{place}, shape {number}", shapes)


def _add(entry: Entry, shape: Element, name: str, place: str, shapes: Shapes) -> None:
    try:
        box = _box(shape)
    except ValueError:
        entry.faults.append(f"{place}: {shape.tag} is not all numbers")
        return
    if box is None:
        shapes.left_out(shape.tag)
        return
    turned = float(shape.get("rotation") or 0) % 360 != 0
    if shape.tag != "box" or turned:
        shapes.boxed(f"turned {shape.tag}" if turned else shape.tag)
    entry.add(Object(name.strip(), box, place))


def _box(shape: Element) -> Box | None:
    """The box around a shape; None where it has no area.

    Raises:
        ValueError: a coordinate is missing or no number.
    """

    def number(key: str) -> float:
        return float(shape.get(key) or "")

    if shape.tag == "box":
        return _turned((number("xtl"), number("ytl"), number("xbr"), number("ybr")), shape)
    if shape.tag == "ellipse":
        x, y, across, along = number("cx"), number("cy"), number("rx"), number("ry")
        return _turned((x - across, y - along, x + across, y + along), shape)
    if shape.tag == "mask":
        left, top = number("left"), number("top")
        return (left, top, left + number("width"), top + number("height"))
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";")]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError
        return enclosing_box([(float(x), float(y)) for x, y in pairs])
    return None


def _turned(box: Box, shape: Element) -> Box:
    angle = math.radians(float(shape.get("rotation") or 0))
    if not angle:
        return box
    x1, y1, x2, y2 = box
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    half = abs(x2 - x1) / 2, abs(y2 - y1) / 2
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    across, along = half[0] * cosine + half[1] * sine, half[0] * sine + half[1] * cosine
    return (x - across, y - along, x + across, y + along)


LAYOUT = Layout("cvat", "CVAT", "annotations.xml of CVAT for images or video", find, read)

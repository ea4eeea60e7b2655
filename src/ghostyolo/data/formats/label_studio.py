"""Label Studio layout: the JSON or JSON-MIN of a project.

Its pictures may lie anywhere below the folder.

A box is ``x, y, width, height`` in percent of the picture, turned by ``rotation`` degrees about its corner; of turned
boxes, polygons and ellipses the enclosing box is taken. Of several annotations of a task the last one counts that is
not cancelled. A picture is known by its name: the server's number in front of it (``3f2a1b2c-cat.jpg``), folders and
addresses do not matter. Format: labelstud.io, "Export annotations".
"""

from __future__ import annotations

import math
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.entries import Entry, Object, Shapes, enclosing_box, gather
from ghostyolo.data.formats.folder import Folder, split_named
from ghostyolo.data.formats.layout import Layout
from ghostyolo.data.formats.raw import RawData, as_size
from ghostyolo.data.images import IMAGE_SUFFIXES
from ghostyolo.data.listing import suffix_of
from ghostyolo.text import read_json

_UPLOAD_NUMBER = re.compile(r"^[0-9a-f]{8}-")
_CLASS_KEYS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels")


def find(folder: Folder) -> list[Path]:
    """Return the JSON files that list tasks."""
    return [path for path, head in folder.heads(".json") if _lists_tasks(head)]


def read(folder: Folder, files: Sequence[Path], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Parse the tasks, see :class:`ghostyolo.data.formats.layout.Layout`."""
    shapes = Shapes(faults)
    entries = (entry for path in files for entry in _entries(path, shapes, faults))
    data = gather(folder, "label-studio", entries, splits, faults)
    shapes.report(folder.root)
    return data


def _lists_tasks(head: str) -> bool:
    start = head.lstrip()
    in_full = '"annotations"' in start and '"data"' in start
    return start.startswith("[") and (in_full or '"original_width"' in start or '"lead_time"' in start)


def _entries(path: Path, shapes: Shapes, faults: FaultList) -> Iterator[Entry]:
    tasks = read_json(path)
    split = split_named(path.stem)
    for number, task in enumerate(tasks if isinstance(tasks, list) else [], start=1):
        if not isinstance(task, dict):
            faults.report("bad-label", path, f"task {number} is {str(task)[:60]}", split)
            continue
        data = task["data"] if isinstance(task.get("data"), dict) else task
        addresses = [value for value in data.values() if isinstance(value, str) and _is_picture(value)]
        if not addresses:
            faults.report("bad-label", path, f"task {number} names no picture", split)
            continue
        names = [name for address in addresses for name in _names(address)]
        if isinstance(task.get("file_upload"), str):
            names += _names(task["file_upload"])
        entry = Entry(list(dict.fromkeys(names)), path, split=split, normalised=True)
        place = f"task {task.get('id', number)}"
        for position, (kind, value, size) in enumerate(_regions(task, place, path, faults, split), start=1):
            _add(entry, kind, value, size, f"{place}, region {position}", shapes)
        yield entry


def _regions(
    task: dict[str, Any], place: str, path: Path, faults: FaultList, split: str
) -> list[tuple[str, dict[str, Any], tuple[int, int] | None]]:
    """The kind, value and picture size of each region of a task."""
    if not isinstance(task.get("data"), dict):  # JSON-MIN
        lists = [value for value in task.values() if isinstance(value, list)]
        items = [
            item for value in lists for item in value if isinstance(item, dict) and ("x" in item or "points" in item)
        ]
        return [("rectanglelabels", item, _size(item)) for item in items]
    annotations = [item for item in task.get("annotations") or task.get("completions") or [] if isinstance(item, dict)]
    annotations = [item for item in annotations if not item.get("was_cancelled")]
    chosen = next((item for item in annotations if item.get("ground_truth")), annotations[-1] if annotations else {})
    if len(annotations) > 1:
        message = f"{place}: {len(annotations) - 1} further annotations of one picture"
        faults.report("not-read", path, message, split, len(annotations) - 1)
    results = [item for item in chosen.get("result") or [] if isinstance(item, dict)]
    return [
        (str(item.get("type")), item["value"], _size(item)) for item in results if isinstance(item.get("value"), dict)
    ]


def _add(
    entry: Entry, kind: str, value: dict[str, Any], size: tuple[int, int] | None, place: str, shapes: Shapes
) -> None:
    entry.size = entry.size or size
    names = next((value[key] for key in _CLASS_KEYS if isinstance(value.get(key), list) and value[key]), None)
    if names is None:
        if kind not in ("rectangle", "polygon", "ellipse", "choices"):  # the same region again, without its class
            shapes.left_out(kind.removesuffix("labels"))
        return
    try:
        points = _points(value, size or (1, 1))
    except (KeyError, TypeError, ValueError) as error:
        entry.faults.append(f"{place}: {error} is missing or no number")
        return
    if not points:
        shapes.left_out(kind.removesuffix("labels"))
        return
    if "rectanglelabels" not in value or value.get("rotation"):
        shapes.boxed("turned rectangle" if "rectanglelabels" in value else kind.removesuffix("labels"))
    x1, y1, x2, y2 = (number / 100 for number in enclosing_box(points))
    for name in names:
        entry.add(Object(str(name).strip(), (x1, y1, x2, y2), place))


def _points(value: dict[str, Any], size: tuple[int, int]) -> list[tuple[float, float]]:
    """The corners of a region in percent of the picture's sides."""
    if "points" in value:
        return [(float(x), float(y)) for x, y in value["points"]]
    x, y, angle = float(value["x"]), float(value["y"]), math.radians(float(value.get("rotation") or 0))
    if "radiusX" in value:
        across, along = float(value["radiusX"]), float(value["radiusY"])
        corners = [(-across, -along), (across, -along), (across, along), (-across, along)]
    else:
        width, height = float(value["width"]), float(value["height"])
        corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    # Turned in pixels, since percents of the two sides are of different lengths.
    ratio = size[0] / size[1]
    cosine, sine = math.cos(angle), math.sin(angle)
    return [(x + dx * cosine - dy * sine / ratio, y + dx * sine * ratio + dy * cosine) for dx, dy in corners]


def _size(item: dict[str, Any]) -> tuple[int, int] | None:
    return as_size(item.get("original_width"), item.get("original_height"))


def _is_picture(address: str) -> bool:
    return any(suffix_of(name) in IMAGE_SUFFIXES for name in _names(address))


def _names(address: str) -> list[str]:
    """What a picture of this address may be called here."""
    parts = urllib.parse.urlsplit(address)
    # /data/local-files/?d=folder/cat.jpg
    inner = urllib.parse.parse_qs(parts.query).get("d", []) if "local-files" in address else []
    names = [*inner, urllib.parse.unquote(parts.path), address]
    last = names[0].replace("\\", "/").rsplit("/", 1)[-1]
    return [name for name in (*names, _UPLOAD_NUMBER.sub("", last)) if name]


LAYOUT = Layout("label-studio", "Label Studio", "*.json that lists tasks", find, read)

"""From what an annotation file says of each picture to a parsed data set.

For layouts that name pictures and classes in words. The layout's file yields an :class:`Entry` a picture; finding the
picture, its split, the list of classes and what is left over are settled here, alike for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.folder import Folder
from ghostyolo.data.formats.raw import (
    Box,
    RawData,
    RawImage,
    all_finite,
    choose_splits,
    merge_entries,
    report_left_over,
)
from ghostyolo.data.images import read_image_info
from ghostyolo.errors import DataError
from ghostyolo.text import printable

# The one split of data that name none.
UNNAMED_SPLIT = "all"


@dataclass
class Object:
    """An object as annotated.

    Attributes:
        name: of its class.
        box: x1, y1, x2, y2; pixels, or fractions of the picture's sides where the entry is ``normalised``.
        place: where it was written, for messages: "row 7", "object 2".
        crowd, difficult, area: as in :class:`ghostyolo.data.formats.raw.RawImage`.
    """

    name: str
    box: Box
    place: str
    crowd: bool = False
    difficult: bool = False
    area: float | None = None


@dataclass
class Entry:
    """What an annotation file says of one picture.

    Attributes:
        names: of the picture, the surest first: a name, a path or an address.
        source: the annotation file.
        objects: those that can be read.
        size: (width, height) as written.
        split: as written; "" where only folders may tell.
        normalised: see :class:`Object`.
        faults: what cannot be read, for messages.
    """

    names: Sequence[str]
    source: Path
    objects: list[Object] = field(default_factory=list)
    size: tuple[int, int] | None = None
    split: str = ""
    normalised: bool = False
    faults: list[str] = field(default_factory=list)

    def add(self, item: Object) -> None:
        """Append an object that has a name and a finite box.

        Else a fault.
        """
        if not all_finite(item.box):
            self.faults.append(f"{item.place}: the box has a NaN or infinity")
        elif not item.name:
            self.faults.append(f"{item.place}: has no name of a class")
        else:
            self.objects.append(item)


def gather(
    folder: Folder,
    layout: str,
    entries: Iterable[Entry],
    splits: Sequence[str] | None,
    faults: FaultList,
    class_names: Sequence[str] | None = None,
) -> RawData:
    """Find the pictures of entries and put the data set together.

    Args:
        folder: where pictures are looked for.
        layout: the layout's name.
        entries: one or more for a picture.
        splits: those wanted; None for all.
        faults: the list to add to.
        class_names: where the data set lists them; else those that occur, sorted.

    Raises:
        DataError: not one picture of a split is there, or an unknown split was asked for.
    """
    by_split: dict[str, list[tuple[Path, Entry]]] = {}
    missing: dict[str, list[Entry]] = {}
    for entry in entries:
        picture = _picture(entry, folder, faults)
        said = entry.split or (folder.split_of(picture) if picture else "") or folder.split_of(entry.source)
        split = said or UNNAMED_SPLIT
        if picture is None:
            missing.setdefault(split, []).append(entry)
            picture = folder.expected(entry.names[0], entry.source)
        by_split.setdefault(split, []).append((picture, entry))
    every = [entry for pairs in by_split.values() for _, entry in pairs]
    names = list(class_names) if class_names is not None else sorted({item.name for e in every for item in e.objects})
    label_of = {name: label for label, name in enumerate(names)}
    read_splits = {}
    for split in choose_splits(sorted(by_split, key=_usual_order), splits, folder.root):
        gone = missing.get(split, [])
        # A split of a file's own name without one picture is no accident of a few files.
        if len(gone) == len(by_split[split]) and (gone[0].split or len(by_split) == 1):
            message = f"none of its {len(gone)} pictures ({printable(gone[0].names[0])} ...) is below {folder.root}"
            raise DataError(f"{gone[0].source}: {message}: put them there, or give the folder that holds both")
        images = []
        for index, (picture, entry) in enumerate(by_split[split]):
            image = RawImage(picture, index, entry.source, normalised=entry.normalised, written_size=entry.size)
            for message in entry.faults:
                faults.report("bad-label", entry.source, message, split)
            for item in entry.objects:
                if item.name in label_of:
                    image.add(item.box, label_of[item.name], item.place, crowd=item.crowd, difficult=item.difficult,
                              area=item.area)  # fmt: skip
                else:
                    message = f"{item.place}: class '{item.name}' is not in the list of classes"
                    faults.report("unknown-class", entry.source, message, split)
            images.append(image)
        images = merge_entries(images, faults, split)
        read_splits[split] = [replace(image, image_id=index) for index, image in enumerate(images)]
    if splits is None:
        report_left_over(folder, read_splits, faults)
    return RawData(folder.root, layout, names, read_splits)


class Shapes:
    """Counts shapes that become boxes, and those that cannot.

    Args:
        faults: where :meth:`report` says the counts.
    """

    def __init__(self, faults: FaultList) -> None:
        self._faults = faults
        self._boxed: Counter[str] = Counter()
        self._left: Counter[str] = Counter()

    def boxed(self, shape: str) -> None:
        """Count a shape of which the enclosing box was taken."""
        self._boxed[shape] += 1

    def left_out(self, shape: str) -> None:
        """Count a shape that is no box and has none."""
        self._left[shape] += 1

    def report(self, path: Path) -> None:
        """Add a fault for each kind of shape."""
        for shape, count in self._boxed.items():
            self._faults.report("shape-boxed", path, f"{count} of shape {shape}", "", count)
        for shape, count in self._left.items():
            self._faults.report("not-read", path, f"{count} of shape {shape}, which have no box", "", count)


def enclosing_box(points: Sequence[Sequence[float]]) -> Box:
    """Return the box around points (x, y)."""
    xs, ys = [float(point[0]) for point in points], [float(point[1]) for point in points]
    return (min(xs), min(ys), max(xs), max(ys))


def _picture(entry: Entry, folder: Folder, faults: FaultList) -> Path | None:
    for name in entry.names:
        found = folder.find_pictures(name, entry.source, entry.split)
        if len(found) > 1 and entry.size is not None:
            found = [path for path in found if entry.size in sizes_of(path)] or found
        if len(found) > 1:
            message = f"'{printable(name)}' may be {found[0]} or {found[1]}: write their folders, or rename one"
            faults.report("ambiguous", entry.source, message, entry.split)
        if found:
            return found[0]
    return None


def sizes_of(path: Path) -> tuple[tuple[int, int], ...]:
    """Return the (width, height) of a picture as shown and as stored.

    Empty where it cannot be read.
    """
    try:
        info = read_image_info(path)
    except DataError:
        return ()
    return (info.size, info.stored_size)


def _usual_order(split: str) -> tuple[int, str]:
    usual = ("train", "val", "test")
    return (usual.index(split) if split in usual else len(usual), split)

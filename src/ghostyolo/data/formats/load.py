"""Find out which layout a data set has by looking, and read it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.folder import Folder
from ghostyolo.data.formats.layout import Layout, layouts
from ghostyolo.data.formats.raw import RawData, build_data, check_units
from ghostyolo.data.listing import suffix_of
from ghostyolo.data.records import DetectionData
from ghostyolo.errors import DataError
from ghostyolo.text import TextError, printable

_ARCHIVES = frozenset((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"))


def load_dataset(path: str | PathLike[str], splits: Sequence[str] | None = None) -> DetectionData:
    """Read a data set of any layout.

    Args:
        path: its folder, or a file that stands for it: a data.yaml, a COCO JSON, a CSV ... ``voc:FOLDER`` reads the
            layout of that name where a folder has several.
        splits: names of those wanted; None for all.

    Returns:
        Records with boxes in pixels, clipped to the picture and with an area. What was mended or left out is in
        ``faults``.

    Raises:
        DataError: no data set there, of no known layout or of two that differ, without a single picture, an unknown
            split, or a label that cannot be trusted (its file and line are named).
    """
    faults = FaultList()
    raw = read_raw(path, splits, faults)
    faults.refuse()
    data = replace(build_data(raw, faults), given=_absolute(path))
    first = f" ({faults.skipped[0][0]}: {faults.skipped[0][1]})" if faults.skipped else ""
    if not any(data.splits.values()):
        raise DataError(f"{path} is an empty data set: it has no picture that can be read{first}")
    read_splits = {split: records for split, records in data.splits.items() if records}
    for split in splits or ():
        if split not in read_splits:
            raise DataError(f"{path}: the split '{split}' has no picture that can be read{first}")
    return replace(data, splits=read_splits)


def read_raw(path: str | PathLike[str], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    """Detect the layout and parse the annotations, without opening pictures.

    Raises:
        DataError: see :func:`load_dataset`; labels that cannot be trusted are in ``faults``.
    """
    try:
        raw = _read_any(path, splits, faults)
    except TextError as error:
        raise DataError(str(error)) from error
    check_names(raw, path)
    check_units(raw, faults)
    return raw


def check_names(raw: RawData, path: str | PathLike[str]) -> None:
    """Strip the names of classes.

    Raises:
        DataError: one cannot be shown, or two are alike.
    """
    raw.class_names = [name.strip() for name in raw.class_names]
    for index, name in enumerate(raw.class_names):
        if not name or printable(name) != name:
            raise DataError(f"{path}: '{printable(name)}' is no name of a class: give it letters that can be shown")
        if raw.class_names.index(name) != index:
            raise DataError(f"{path}: two classes are named '{name}': rename one")


@dataclass(frozen=True)
class _Candidate:
    """A layout that a folder has, and the files that say so."""

    layout: Layout
    files: Sequence[Path]

    def read(self, folder: Folder, splits: Sequence[str] | None, faults: FaultList) -> RawData:
        return self.layout.read(folder, self.files, splits, faults)


def _read_any(given: str | PathLike[str], splits: Sequence[str] | None, faults: FaultList) -> RawData:
    wanted, path = asked_layout(given)
    if not os.path.exists(path):
        raise DataError(f"{path} does not exist: give the folder of a data set, its data.yaml or its COCO JSON")
    folder = Folder(path)
    kinds = [layout for layout in layouts() if wanted in ("", layout.name)]
    candidates = [_Candidate(layout, files) for layout in kinds if (files := layout.find(folder))]
    if not candidates:
        raise DataError(_nothing(path, folder, kinds))
    if len(candidates) == 1:
        return candidates[0].read(folder, splits, faults)
    chosen, others = _agreeing(candidates, folder, path)
    names = " and ".join(other.layout.title for other in others)
    message = f"read as {chosen.layout.title} ({chosen.files[0].name}); {names} beside it says the same"
    faults.report("two-layouts", path, message)
    return chosen.read(folder, splits, faults)


def asked_layout(given: str | PathLike[str]) -> tuple[str, Path]:
    """Split ``voc:my-data`` into its layout and path.

    A file that has such a name comes first.
    """
    text = os.fspath(given)
    name, colon, rest = text.partition(":")
    if colon and rest and not os.path.exists(text) and name in {layout.name for layout in layouts()}:
        return name, Path(rest).expanduser()
    return "", Path(text)


def _absolute(given: str | PathLike[str]) -> str:
    layout, path = asked_layout(given)
    return f"{layout}:{os.path.abspath(path)}" if layout else os.path.abspath(path)


def _nothing(path: Path, folder: Folder, kinds: Sequence[Layout]) -> str:
    if path.is_file():
        if suffix_of(path.name) in _ARCHIVES:
            return f"{path} is an archive: unpack it, and give the folder"
        titles = ", ".join(layout.title for layout in kinds)
        return f"{path} is not a data set: it is of none of the layouts known ({titles})"
    if not folder.pictures and folder.counts() == "no file":
        return f"{path} is an empty folder"
    looked_for = "; ".join(f"{layout.signs} ({layout.title})" for layout in kinds)
    return f"{path} has none of the layouts known: it holds {folder.counts()}; looked for {looked_for}"


def _agreeing(candidates: Sequence[_Candidate], folder: Folder, path: Path) -> tuple[_Candidate, list[_Candidate]]:
    """Return the layout to read and the others, where all say the same of the pictures.

    Raises:
        DataError: they differ, or one cannot be read.
    """
    contents: list[dict[Path, int]] = []
    splits: list[int] = []
    differs = ""
    for candidate in candidates:
        try:
            raw = candidate.read(folder, None, FaultList())
        except (DataError, TextError) as error:
            differs = str(error)
            break
        images = [image for group in raw.splits.values() for image in group]
        contents.append({Path(os.path.abspath(image.path)): len(image.boxes) for image in images if image.boxes})
        splits.append(len(raw.splits))
    if not differs and any(content != contents[0] for content in contents):
        counts = [f"{candidate.layout.title} {sum(content.values())} boxes in {len(content)} pictures"
                  for candidate, content in zip(candidates, contents, strict=True)]  # fmt: skip
        differs = ", ".join(counts)
    if differs:
        names = " and ".join(f"{item.layout.title} ({item.files[0]})" for item in candidates)
        paths = " or ".join(f"{item.layout.name}:{path}" for item in candidates)
        raise DataError(f"{path} has two layouts that differ, {names}: {differs}; give {paths} to choose")
    order = sorted(range(len(candidates)), key=lambda index: (-splits[index], -candidates[index].layout.rank))
    return candidates[order[0]], [candidates[index] for index in order[1:]]

"""Several data sets as one to train on.

Each labels only its own classes.

What a set does not label is not background in its pictures: each record says which classes its picture's labels know.
No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats import load_dataset
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import ConfigError, DataError

AnyPath = str | PathLike[str]


@dataclass(frozen=True)
class _Class:
    """A class of one set: its number there and its name."""

    source: int
    label: int
    name: str

    @property
    def spelling(self) -> str:
        """What is left of the name where case, spaces and marks do not count."""
        return "".join(filter(str.isalnum, self.name.casefold())) or self.name


def load_datasets(paths: AnyPath | Sequence[AnyPath], join_classes: bool = False) -> DetectionData:
    """Read one data set as it is, or several as one.

    Args:
        paths: of each, in any layout.
        join_classes: a class that two sets name alike is one class. Without, each set has its own: ``set:class``.

    Returns:
        Classes in the order of the sets. Records of several sets say which classes they know, unless it is all.

    Raises:
        DataError: see :func:`load_dataset`; also a set without training pictures.
        ConfigError: no set, a set that is given twice, or classes to join whose names differ in spelling alone.
    """
    if isinstance(paths, (str, PathLike)):
        return load_dataset(paths)
    if not paths:
        raise ConfigError("no data set to train on: give --data PATH")
    if len(paths) == 1:
        return load_dataset(paths[0])
    places = [Path(path).resolve() for path in paths]
    twice = next((path for path, place in zip(paths, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise ConfigError(f"the data set {twice} is given twice: give each set once")
    return join_datasets([load_dataset(path) for path in paths], _set_names(places), join_classes)


def join_datasets(sets: Sequence[DetectionData], names: Sequence[str], join_classes: bool = False) -> DetectionData:
    """Data sets as one; ``names`` are those of the sets. See :func:`load_datasets`."""
    for data in sets:
        if not data.splits.get("train"):
            raise DataError(f"{data.root} has no training pictures: its splits are {', '.join(data.splits) or 'none'}")
    class_names, label_maps = _join_classes([data.class_names for data in sets], names, join_classes)
    ranges = [data.pixel_range for data in sets if data.pixel_range is not None]
    pixel_range = (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
    splits: dict[str, list[ImageRecord]] = {}
    for source, (data, labels) in enumerate(zip(sets, label_maps, strict=True)):
        known = np.zeros(len(class_names), np.bool_)
        known[labels] = True
        for split, records in data.splits.items():
            splits.setdefault(split, []).extend(
                replace(
                    record,
                    labels=labels[record.labels],
                    source=source,
                    known=None if known.all() else known,
                    pixel_range=None if record.pixel_range is None else pixel_range,
                )
                for record in records
            )
    return DetectionData(
        root=Path("+".join(names)),
        layout=sets[0].layout,
        class_names=class_names,
        splits=splits,
        faults=FaultList(fault for data in sets for fault in data.faults),
        pixel_range=pixel_range,
        sources=[data.place for data in sets],
    )


def _join_classes(
    lists: Sequence[Sequence[str]], set_names: Sequence[str], join: bool
) -> tuple[list[str], list[np.ndarray]]:
    """Names of all classes, and of each set the new label of each of its own."""
    classes = [_Class(source, label, name) for source, names in enumerate(lists) for label, name in enumerate(names)]
    alike: dict[str, list[_Class]] = {}
    for one in classes:
        alike.setdefault(one.spelling, []).append(one)
    joined: list[str] = []
    maps = [np.zeros(len(names), np.int64) for names in lists]
    for one in classes:
        others = [other for other in alike[one.spelling] if other.source != one.source]
        name = one.name
        if others and not join:
            name = f"{set_names[one.source]}:{name}"
        odd = next((other for other in others if other.name != one.name), None)
        if join and odd is not None:
            raise ConfigError(
                f"'{one.name}' of {set_names[one.source]} and '{odd.name}' of {set_names[odd.source]} differ in "
                "spelling alone: rename one of them to join the classes, or leave join_classes out"
            )
        if name not in joined:
            joined.append(name)
        elif not (join and others):
            raise ConfigError(f"the class '{name}' of {set_names[one.source]} stands twice: rename one of them")
        maps[one.source][one.label] = joined.index(name)
    return joined, maps


def _set_names(places: Sequence[Path]) -> list[str]:
    """The last part of each path; numbered where several end alike."""
    stems = [place.stem if place.suffix in (".json", ".yaml", ".yml") else place.name for place in places]
    stems = [
        place.parent.name if stem in ("data", "dataset", "_annotations.coco") and place.is_file() else stem
        for stem, place in zip(stems, places, strict=True)
    ]
    return [
        stem if stems.count(stem) == 1 else f"{stem}{stems[: position + 1].count(stem)}"
        for position, stem in enumerate(stems)
    ]

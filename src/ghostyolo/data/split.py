"""Split a data set into train, val and test, and keep the split.

Each class has the same share in every part as far as it can; pictures that belong together
(:mod:`ghostyolo.data.similar`) are never on both sides. The same pictures and seed give the same split. A split is kept
as a folder of lists (``split.yaml``, ``train.txt``, ``val.txt``), which is read like a data set. No torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats import load_dataset
from ghostyolo.data.formats.entries import UNNAMED_SPLIT
from ghostyolo.data.formats.lists import SPLIT_FILE, picture_key, read_lists
from ghostyolo.data.formats.write import make_empty_folder
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.data.similar import Groups, group_pictures
from ghostyolo.errors import ConfigError, DataError, NoSplitError
from ghostyolo.files import write_text

VAL_SHARE = 0.2
# Fewer pictures than these cannot tell anything when a part of them is held out.
FEWEST = 10
SPLIT_FOLDER = "split"


def with_validation(data: DetectionData, run: Path | None = None) -> DetectionData:
    """Return the data with a "train" and a "val" split.

    As it is where it has both.

    Without "train", the pictures of an unnamed split (``all``), or of ``trainval``, are for training. Without "val", a
    fifth of them is held out; below ten pictures all are trained and validated on. ``test`` stays. What was done is
    added to the faults.

    Args:
        run: folder of a run whose split is to be taken, where it has one.

    Raises:
        DataError: no picture is for training, or the run's pictures are not there.
    """
    splits = training_splits(data)
    if splits.get("val"):
        return replace(data, splits=splits)
    if run is not None and (run / SPLIT_FOLDER / SPLIT_FILE).is_file():
        return apply_lists(replace(data, splits=splits), run / SPLIT_FOLDER)
    faults = FaultList(data.faults)
    records = splits["train"]
    if len(records) < FEWEST:
        message = f"{len(records)} pictures are too few to hold any out: AP says how well they were learned by heart"
        faults.report("val-is-train", data.root, message, "val", len(records))
        return replace(data, splits={**splits, "val": records}, faults=faults, made_split=True)
    parts = split_records(records, {"val": VAL_SHARE}, len(data.class_names), faults=faults, where=data.root)
    others = {split: group for split, group in splits.items() if split not in ("train", "val")}
    return replace(data, splits={**parts, **others}, faults=faults, made_split=True)


def load_split(path: str | Path, split: str = "val", weights: str | Path | None = None) -> DetectionData:
    """Read one split, also the "val" that training held out.

    Args:
        path: as for :func:`ghostyolo.data.formats.load_dataset`.
        split: its name.
        weights: where the split of their run lies beside them, it is taken; else it is made again by the same rule.

    Raises:
        DataError: as :func:`ghostyolo.data.formats.load_dataset`.
    """
    try:
        return load_dataset(path, [split])
    except NoSplitError:
        if split not in ("train", "val"):
            raise
    data = with_validation(load_dataset(path), Path(weights).parent if weights is not None else None)
    return replace(data, splits={split: data.splits[split]})


def resplit(data: DetectionData, val: float, test: float, seed: int) -> DetectionData:
    """Split all pictures of a data set anew.

    Its own test split stays where no new one is wanted.

    Raises:
        ConfigError: shares that leave nothing to train on.
        DataError: too few pictures for a part.
    """
    if not 0 <= val < 1 or not 0 <= test < 1 or not 0 < val + test < 1:
        raise ConfigError(
            f"--val {val:g} and --test {test:g}: shares of 0 to 1, and something must be left to train on"
        )
    kept = {"test": data.splits["test"]} if not test and data.splits.get("test") else {}
    records = [record for split, group in data.splits.items() if split not in kept for record in group]
    records = list({os.path.abspath(record.path): record for record in records}.values())
    records = [replace(record, image_id=index) for index, record in enumerate(records)]
    faults = FaultList(data.faults)
    shares = {name: share for name, share in (("val", val), ("test", test)) if share}
    parts = split_records(records, shares, len(data.class_names), seed, faults=faults, where=data.root)
    empty = next((name for name, group in parts.items() if not group), None)
    if empty is not None:
        raise DataError(f"{data.root}: {len(records)} pictures are too few: none is left for {empty}")
    return replace(data, splits={**parts, **kept}, faults=faults, made_split=True)


def split_records(
    records: Sequence[ImageRecord],
    shares: Mapping[str, float],
    num_classes: int,
    seed: int = 0,
    *,
    faults: FaultList,
    where: Path,
) -> dict[str, list[ImageRecord]]:
    """Split pictures into "train" and the named parts.

    Args:
        records: the pictures.
        shares: of each part but "train", which gets the rest.
        num_classes: of the data set.
        seed: of the order in which equal groups are dealt out.
        faults: gets what was done, and the groups that had to be cut.
        where: the data set, for messages.
    """
    groups = group_pictures([record.path for record in records])
    of, cut = _cut_large(groups, min(shares.values()))
    chosen = split_groups(of, [record.labels[~record.ignore] for record in records], shares, num_classes, seed)
    parts = {name: [records[index] for index in np.flatnonzero(chosen == name).tolist()] for name in ("train", *shares)}
    counts = ", ".join(f"{len(group)} {name}" for name, group in parts.items())
    message = f"{counts} pictures, seed {seed}, the classes alike"
    if groups.copies or groups.frames:
        message += f"; {groups.copies} copies and {groups.frames} frames stay with their likes"
    faults.report("held-out", where, message, "", len(records) - len(parts["train"]))
    if cut:
        faults.report("cut-group", where, f"{cut} pictures are of one scene or video: parts of it are on both sides, "
                      "so AP is better than on new scenes", "", cut)  # fmt: skip
    for name, group in parts.items():
        seen = {label for record in group for label in record.labels[~record.ignore].tolist()}
        missing = {label for record in records for label in record.labels[~record.ignore].tolist()} - seen
        if missing:
            message = f"{name} has no object of {len(missing)} classes that are in too few pictures"
            faults.report("class-without-objects", where, message, name, len(missing))
    return parts


def split_groups(
    groups: npt.NDArray[np.int64],
    labels: Sequence[npt.NDArray[np.int64]],
    shares: Mapping[str, float],
    num_classes: int,
    seed: int = 0,
) -> npt.NDArray[np.str_]:
    """Deal groups of pictures out to parts, with the same share of each class.

    The rarest class is dealt out first, its largest groups before others, each to the part that lacks most of the class
    (iterative stratification: Sechidis et al., 2011, here of groups).

    Args:
        groups: (N,) group of each picture, from 0 on.
        labels: of the objects of each picture.
        shares: of each part but "train", which gets the rest.
        num_classes: of the data set.
        seed: of the order among equal groups.

    Returns:
        (N,) names of parts.
    """
    names = ["train", *shares]
    wanted = np.array([1 - sum(shares.values()), *shares.values()])
    count = int(groups.max()) + 1 if len(groups) else 0
    # What each group holds: its objects by class, and its pictures.
    holds = np.zeros((count, num_classes + 1))
    for group, found in zip(groups.tolist(), labels, strict=True):
        np.add.at(holds[group], found, 1)
        holds[group, -1] += 1
    lacks = wanted[:, None] * holds.sum(axis=0)
    part = np.full(count, -1)
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    while (part < 0).any():
        free = order[part[order] < 0]
        left = holds[free].sum(axis=0)
        classes = np.flatnonzero(left[:-1])
        kind = classes[np.argmin(left[classes])] if len(classes) else num_classes
        for group in sorted(free[holds[free, kind] > 0].tolist(), key=lambda group: -holds[group, -1]):
            # Of parts that lack as much of the class, the one that lacks more pictures.
            part[group] = max(range(len(names)), key=lambda index: (round(lacks[index, kind], 9), lacks[index, -1]))
            lacks[part[group]] -= holds[group]
    return np.array(names)[part[groups]] if count else np.zeros(0, "<U5")


def write_split(data: DetectionData, out: str | Path) -> Path:
    """Write the lists of a split into a new folder.

    The folder is a data set by itself.

    Raises:
        OutputError: the folder is not empty or cannot be written.
    """
    out = make_empty_folder(out)
    texts = lists_of(data)
    for name in sorted(texts, key=lambda name: name == SPLIT_FILE):  # last, so that an interrupted run leaves no split
        write_text(out / name, texts[name])
    return out


def lists_of(data: DetectionData) -> dict[str, str]:
    """Return the texts of the files that keep a split, by file name."""
    content = {"data": data.sources or data.place, **{split: f"{split}.txt" for split in data.splits}}
    head = "# Pictures of each split: a data set by itself, `--data THIS_FOLDER`.\n"
    texts = {f"{split}.txt": "".join(f"{picture_key(record.path, base)}\n" for record in records)
             for base in [_base(data)] for split, records in data.splits.items()}  # fmt: skip
    return {**texts, SPLIT_FILE: head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}


def apply_lists(data: DetectionData, folder: Path) -> DetectionData:
    """Split a data set as the lists in a folder say.

    Pictures that are in no list are for training.

    Raises:
        DataError: a listed picture is not in the data set.
    """
    lists = read_lists(folder / SPLIT_FILE)
    base = _base(data)
    record_of = {picture_key(record.path, base): record for group in data.splits.values() for record in group}
    missing = next((key for keys in lists.values() for key in keys if key not in record_of), None)
    if missing is not None:
        raise DataError(f"{data.root} has no picture {missing}, which is in the split of {folder}: give the data of "
                        "that run, or train anew in another folder")  # fmt: skip
    listed = {key for keys in lists.values() for key in keys}
    splits = {split: [record_of[key] for key in keys] for split, keys in lists.items()}
    splits.setdefault("train", []).extend(record for key, record in record_of.items() if key not in listed)
    faults = FaultList(data.faults)
    counts = ", ".join(f"{len(group)} {split}" for split, group in splits.items())
    faults.report("held-out", folder, f"{counts} pictures, as kept there", "", len(splits.get("val", [])))
    return replace(data, splits=splits, faults=faults, made_split=True)


def _base(data: DetectionData) -> Path:
    """The folder that pictures are named from."""
    if not data.sources:
        return data.root
    paths = [os.path.abspath(record.path.parent) for group in data.splits.values() for record in group]
    return Path(os.path.commonpath(paths))


def training_splits(data: DetectionData) -> dict[str, list[ImageRecord]]:
    """Return the splits, the one for training called "train".

    Where there is none of that name, ``all`` or ``trainval`` is meant.

    Raises:
        NoSplitError: none is for training.
    """
    if data.splits.get("train"):
        return data.splits
    pools = [split for split in ("trainval", UNNAMED_SPLIT) if data.splits.get(split)]
    others = [split for split, group in data.splits.items() if split not in ("val", "test") and group]
    pool = next(iter([*pools, *others]), None)
    if pool is None:
        raise NoSplitError(f"{data.root} has no training pictures: its splits are {', '.join(data.splits) or 'none'}; "
                        f"`ghostyolo data split {data.root} --out NEW_FOLDER` makes a train split of them")  # fmt: skip
    names = [(("train" if split == pool else split), group) for split, group in data.splits.items()]
    return dict(sorted(names, key=lambda item: item[0] != "train"))


def _cut_large(groups: Groups, share: float) -> tuple[npt.NDArray[np.int64], int]:
    """Cut the largest group where the others are too few to hold anything out.

    Returns:
        The groups, and how many pictures the one that was cut has, or 0.
    """
    of = groups.of.copy()
    sizes = np.bincount(of)
    largest = int(sizes.argmax()) if len(sizes) else 0
    if not len(sizes) or len(of) - sizes[largest] >= share * len(of) / 2 or sizes[largest] < 2:
        return of, 0
    # Pieces that follow each other: only those at the cuts are alike.
    members = groups.order[of[groups.order] == largest]
    pieces = np.array_split(members, min(len(members), max(2, round(1 / share))))
    for number, piece in enumerate(pieces[1:]):
        of[piece] = len(sizes) + number
    return of, int(sizes[largest])

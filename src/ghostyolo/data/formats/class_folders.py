"""Pictures in one folder a class: ``cat/1.jpg``, or ``train/cat/1.jpg`` and ``val/cat/2.jpg``. No torch."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from ghostyolo.data.images import IMAGE_SUFFIXES
from ghostyolo.data.labelled import TRAIN_NAMES, VAL_NAMES, ClassificationData, LabelledImage
from ghostyolo.data.listing import describe_passed, is_hidden, list_files
from ghostyolo.errors import DataError

_log = logging.getLogger(__name__)


def read(root: Path) -> ClassificationData:
    """Read the layout; pictures are opened when they are needed.

    Classes are the subfolders of the training split with a picture at any depth, by name.

    Raises:
        DataError: no class folders, or pictures of a class in "val" that "train" has not.
    """
    folders = {"train": root}
    train = _first(root, TRAIN_NAMES)
    if train is not None:
        folders = {"train": train}
        val = _first(root, VAL_NAMES)
        if val is not None:
            folders["val"] = val
    files = {split: _classes(folder) for split, folder in folders.items()}
    class_names = list(files["train"])
    if not class_names:
        raise DataError(
            f"{root} is no classification data set: it has neither Parquet files nor class folders with pictures "
            "(CLASS/*.jpg or train/CLASS/*.jpg); pictures without labels train with --set labels=false"
        )
    unknown = sorted(set(files.get("val", {})) - set(class_names))
    if unknown:
        raise DataError(f"{folders['val']} has a class '{unknown[0]}' that {folders['train']} has not")
    label = {name: index for index, name in enumerate(class_names)}
    splits = {
        split: [LabelledImage(path, label[name]) for name, paths in classes.items() for path in paths]
        for split, classes in files.items()
    }
    return ClassificationData(root, class_names, {split: images for split, images in splits.items() if images})


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _classes(folder: Path) -> dict[str, list[Path]]:
    classes = {}
    passed: Counter[str] = Counter()
    for place in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name)):
        listing = list_files(place, IMAGE_SUFFIXES, deep=True)
        passed += listing.passed
        if listing.files:
            classes[place.name] = sorted(listing.files)
    passed += Counter({"outside class folders": len(list_files(folder, IMAGE_SUFFIXES, deep=False).files)})
    if passed:
        _log.warning("%s: passed over %s", folder, describe_passed(passed))
    return classes

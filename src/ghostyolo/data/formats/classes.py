"""Read a classification data set: an image folder or Parquet files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from ghostyolo.data.formats import class_folders, parquet
from ghostyolo.data.images import IMAGE_SUFFIXES, SAMPLED_PICTURES, common_range
from ghostyolo.data.labelled import ClassificationData, LabelledImage, check_classes, hold_out, take_evenly
from ghostyolo.data.listing import describe_passed, list_files
from ghostyolo.errors import DataError

_log = logging.getLogger(__name__)


def load_classes(
    path: str | PathLike[str], *, val_share: float = 0.1, limit: int | None = None, label_column: str | None = None
) -> ClassificationData:
    """Read a data set by its layout.

    Args:
        path: a folder of class folders, or of ``train`` and ``val`` with such; a Parquet file, or a folder of them.
        val_share: of the training pictures, held out where there is no validation split; 0 for none.
        limit: at most so many training pictures, evenly of all classes and always the same ones; None for all.
        label_column: of Parquet files.

    Raises:
        DataError: missing, empty, of one class, or damaged.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist: give a folder of class folders, or Parquet files")
    files = parquet.find(root)
    if files:
        data = parquet.read(root, files, label_column)
    elif root.is_dir():
        data = class_folders.read(root)
    else:
        raise DataError(f"{root} is neither a folder nor a Parquet file")
    data = hold_out(check_classes(data), val_share)
    if limit is not None and limit < len(data.splits["train"]):
        chosen = take_evenly(data.splits["train"], limit)
        data = replace(data, splits={**data.splits, "train": chosen})
    return _with_range(check_classes(data))


def load_pictures_alone(
    path: str | PathLike[str], *, limit: int | None = None, name: str = "unlabelled"
) -> ClassificationData:
    """Read pictures without their labels.

    Those of a folder at any depth, or of Parquet files.

    Args:
        limit: at most so many, evenly spread and always the same ones; None for all.
        name: of the one class that all have.

    Raises:
        DataError: missing, or without a picture.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist: give a folder of pictures, or Parquet files")
    files = parquet.find(root)
    images: Sequence[LabelledImage]
    if files:
        images = [replace(image, label=0) for image in parquet.read(root, files, None).splits["train"]]
    elif root.is_dir():
        listing = list_files(root, IMAGE_SUFFIXES, deep=True)
        if listing.passed:
            _log.warning("%s: passed over %s", root, describe_passed(listing.passed))
        images = [LabelledImage(file, 0) for file in sorted(listing.files)]
    else:
        raise DataError(f"{root} is neither a folder nor a Parquet file")
    if not images:
        raise DataError(f"{root} has no picture")
    if limit is not None and limit < len(images):
        images = [images[number * len(images) // limit] for number in range(limit)]
    return _with_range(ClassificationData(root, [name], {"train": images}))


def _with_range(data: ClassificationData) -> ClassificationData:
    sample = take_evenly(data.splits["train"], SAMPLED_PICTURES)
    return replace(data, pixel_range=common_range([image.source for image in sample]))

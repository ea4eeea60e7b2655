"""Pictures with one class each, as readers of classification data return them.

No torch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import DataError

TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "test")


@dataclass(frozen=True)
class LabelledImage:
    """One picture and its class.

    Attributes:
        path: the file; of a picture inside another file, that file and the row, such as ``train.parquet, row 7``.
        label: index into the class names.
        encoded: the picture file's bytes where they are not at ``path``; empty where they are missing.
    """

    path: Path
    label: int
    encoded: bytes | None = None

    @property
    def source(self) -> Path | bytes:
        """What the picture is decoded from."""
        return self.path if self.encoded is None else self.encoded


@dataclass(frozen=True)
class ClassificationData:
    """A classification data set of any layout.

    Attributes:
        root: where it was read from.
        class_names: one name for each label.
        splits: "train", and "val" where there is one.
        pixel_range: of pictures of more than 8 bits, the values that are black and white; None: there are none.
    """

    root: Path
    class_names: list[str]
    splits: dict[str, Sequence[LabelledImage]]
    pixel_range: tuple[float, float] | None = None


class Selection(Sequence[LabelledImage]):
    """Some of a split's pictures, in a given order."""

    def __init__(self, images: Sequence[LabelledImage], positions: npt.NDArray[np.int64]) -> None:
        self.images, self.positions = images, positions

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, index: int) -> LabelledImage: ...
    @overload
    def __getitem__(self, index: slice) -> Selection: ...
    def __getitem__(self, index: int | slice) -> LabelledImage | Selection:
        if isinstance(index, slice):
            return Selection(self.images, self.positions[index])
        return self.images[int(self.positions[index])]

    def __iter__(self) -> Iterator[LabelledImage]:
        return (self.images[int(position)] for position in self.positions)


def labels_of(images: Sequence[LabelledImage]) -> npt.NDArray[np.int64]:
    """(N,) labels, without touching the pictures where the reader has them apart."""
    if isinstance(images, Selection):
        return labels_of(images.images)[images.positions]
    known = getattr(images, "labels", None)
    if known is not None:
        return np.asarray(known, np.int64)
    return np.fromiter((image.label for image in images), np.int64, len(images))


def take_evenly(images: Sequence[LabelledImage], count: int, seed: int = 0) -> Selection:
    """Return ``count`` pictures with equal shares of the classes.

    As far as there are as many; in shuffled order.
    """
    labels = labels_of(images)
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), np.int64)  # of a picture among those of its class, in the shuffled order
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        rank[of_class] = np.arange(len(of_class))
    return Selection(images, order[np.argsort(rank[order], kind="stable")][:count])


def hold_out(data: ClassificationData, share: float) -> ClassificationData:
    """Return the data with a share of "train" as "val".

    The same share of each class; as it was where it has a "val".

    Which pictures are held out depends on the data alone, so that runs with other seeds are compared on the same ones.

    Raises:
        DataError: nothing would be left on one of the sides.
    """
    if "val" in data.splits or share == 0:
        return data
    images = data.splits["train"]
    count = round(len(images) * share)
    if not 0 < count < len(images):
        raise DataError(f"{data.root}: {len(images)} pictures cannot be split, {share:g} of them for validation")
    everything = take_evenly(images, len(images)).positions
    held, kept = np.sort(everything[:count]), np.sort(everything[count:])
    return replace(data, splits={"train": Selection(images, kept), "val": Selection(images, held)})


def digest(images: Sequence[LabelledImage]) -> str:
    """Return a short hash of the pictures' names and labels, in order."""
    found = hashlib.sha256(labels_of(images).tobytes())
    source: Sequence[LabelledImage] = images
    if isinstance(source, Selection):
        found.update(source.positions.tobytes())
        source = source.images
    names = getattr(source, "source_names", None)
    found.update(os.fsencode("\n".join(names if names is not None else (image.path.name for image in source))))
    return found.hexdigest()[:16]


def check_classes(data: ClassificationData) -> ClassificationData:
    """The data, if there is something to learn.

    Raises:
        DataError: no pictures in "train", or of fewer than two classes.
    """
    images = data.splits.get("train", [])
    if not len(images):
        raise DataError(f"{data.root} has no training pictures")
    classes = np.unique(labels_of(images))
    if len(classes) < 2:
        name = data.class_names[int(classes[0])]
        raise DataError(f"{data.root} has pictures of one class only ('{name}'): a classifier needs two or more")
    return data

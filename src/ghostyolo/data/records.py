"""A labelled picture and a labelled data set.

Every reader in ``data/formats`` returns them. No torch.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ghostyolo.data.faults import FaultList
from ghostyolo.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageRecord:
    """One picture and its objects.

    Attributes:
        path: the picture file.
        width, height: its size in pixels after EXIF rotation, read from the file itself, never from annotations.
        boxes_xyxy: (M, 4) float32, corners in pixels of that size.
        labels: (M,) int64, indices into the data set's class names.
        ignore: (M,) bool, objects a metric must neither demand nor punish (COCO crowd, VOC difficult).
        image_id: the id in the source annotations where it has one (COCO), else the position in the split.
        difficult: (M,) bool, those of ``ignore`` that are one object each and not a region of many (VOC difficult);
            None: not one.
        pixel_range: of a picture of more than 8 bits, the values that are black and white in its data set.
        area: (M,) float64, square pixels of each object where the annotations state it (COCO: the mask's); None: they
            do not, and the boxes' areas stand for it.
        source: which of the data sets that are trained on together it is from.
        known: (C,) bool, classes that its set labels; an unlabelled object of another is no background. None: all.
    """

    path: Path
    width: int
    height: int
    boxes_xyxy: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    ignore: npt.NDArray[np.bool_]
    image_id: int
    difficult: npt.NDArray[np.bool_] | None = None
    area: npt.NDArray[np.float64] | None = None
    pixel_range: tuple[float, float] | None = None
    source: int = 0
    known: npt.NDArray[np.bool_] | None = None

    @property
    def crowd(self) -> npt.NDArray[np.bool_]:
        """(M,) bool, those of ``ignore`` that are regions of many objects."""
        return self.ignore if self.difficult is None else self.ignore & ~self.difficult

    @property
    def areas(self) -> npt.NDArray[np.float64]:
        """(M,) float64, square pixels: ``area``, or the boxes' own."""
        if self.area is not None:
            return self.area
        boxes = self.boxes_xyxy.astype(np.float64)
        return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))

    def take(self, keep: npt.NDArray[np.bool_]) -> ImageRecord:
        """Return the picture with some of its objects, those where ``keep`` (M,) is True."""
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[keep],
            labels=self.labels[keep],
            ignore=self.ignore[keep],
            difficult=None if self.difficult is None else self.difficult[keep],
            area=None if self.area is None else self.area[keep],
        )

    def joined(self, other: ImageRecord) -> ImageRecord:
        """Return the picture with the objects of both records."""
        difficult = np.concatenate([self.ignore & ~self.crowd, other.ignore & ~other.crowd])
        return replace(
            self,
            boxes_xyxy=np.concatenate([self.boxes_xyxy, other.boxes_xyxy]),
            labels=np.concatenate([self.labels, other.labels]),
            ignore=np.concatenate([self.ignore, other.ignore]),
            difficult=difficult if difficult.any() else None,
            area=np.concatenate([self.areas, other.areas]),
        )


@dataclass(frozen=True)
class DetectionData:
    """A data set of any layout.

    Attributes:
        root: the folder it was read from.
        layout: its name, such as ``"yolo"``.
        class_names: one name for each label index.
        splits: records by split name, such as ``"train"`` and ``"val"``.
        faults: what is wrong with it, and what was left out or mended.
        pixel_range: of pictures of more than 8 bits, the values that are black and white; None: there are none.
        sources: the places of the data sets that were joined to this one; empty for one alone.
        given: the absolute path, with its layout where one was asked for, that reads it again; "": ``root`` does.
        made_split: whether "val" was held out by us (:mod:`ghostyolo.data.split`).
    """

    root: Path
    layout: str
    class_names: list[str]
    splits: dict[str, list[ImageRecord]]
    faults: FaultList = field(default_factory=FaultList)
    pixel_range: tuple[float, float] | None = None
    sources: list[str] = field(default_factory=list)
    given: str = ""
    made_split: bool = False

    @property
    def place(self) -> str:
        """The absolute path that reads it again."""
        return self.given or os.path.abspath(self.root)

    @property
    def skipped(self) -> list[tuple[Path, str]]:
        """Pictures left out, as (path, reason)."""
        return self.faults.skipped

    def summary(self) -> list[str]:
        """Return what is there and what is wrong, a line each."""
        return [_counts(split, records) for split, records in self.splits.items()] + self.faults.lines()

    def warn(self, split: str | None = None) -> None:
        """Log what is wrong, a line each; of one split, or of all."""
        for line in FaultList(fault for fault in self.faults if split is None or fault.split in ("", split)).lines():
            log.warning(line)

    def checked(self, split: str) -> DetectionData:
        """Return the data as good for scoring; what is wrong is logged.

        Raises:
            DataError: see :meth:`require_objects`.
        """
        self.warn()
        self.require_objects(split)
        return self

    def require_objects(self, split: str) -> None:
        """Stop where the pictures of a split have no box.

        Raises:
            DataError: none has a box that is neither crowd nor difficult; the cause is named.
        """
        records = self.splits.get(split, [])
        if records and all(record.ignore.all() for record in records):
            causes = [str(fault) for fault in self.faults if fault.kind == "no-objects" and fault.split == split]
            raise DataError(causes[0] if causes else f"{self.root}: {split} has no box in {len(records)} pictures")


def _counts(split: str, records: Sequence[ImageRecord]) -> str:
    boxes = sum(len(record.labels) for record in records)
    crowd = sum(int(record.crowd.sum()) for record in records)
    difficult = sum(int(record.ignore.sum()) for record in records) - crowd
    bare = sum(not len(record.labels) for record in records)
    notes = [f"{crowd} of them crowd"] * (crowd > 0) + [f"{difficult} of them difficult"] * (difficult > 0)
    counts = [_plural(len(records), "picture"), _plural(boxes, "box", "boxes"), *notes]
    return f"{split}: {', '.join(counts)}, {_plural(bare, 'picture')} without labels"


def _plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"

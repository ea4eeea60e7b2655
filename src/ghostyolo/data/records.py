"""A labelled picture and a labelled data set.

Every reader in ``data/formats`` returns them. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt


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
        area: (M,) float64, square pixels of each object where the annotations state it (COCO: the mask's); None: they
            do not, and the boxes' areas stand for it.
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


@dataclass(frozen=True)
class DetectionData:
    """A data set of any layout.

    Attributes:
        root: the folder it was read from.
        layout: ``"yolo"``, ``"coco"`` or ``"voc"``.
        class_names: one name for each label index.
        splits: records by split name, such as ``"train"`` and ``"val"``.
        skipped: pictures left out, as (path, reason); reported, never silent.
    """

    root: Path
    layout: str
    class_names: list[str]
    splits: dict[str, list[ImageRecord]]
    skipped: list[tuple[Path, str]] = field(default_factory=list)

"""The data set that pseudo-labels become, in YOLO layout.

In its folder: ``images/pseudo`` and ``labels/pseudo``; copies of the labelled data's splits (``images/train``,
``images/val`` ...) where there are some; ``data.yaml``, whose ``train`` is a list with ``images/pseudo`` last and whose
``val`` and ``test`` are the labelled ones alone; ``pseudo-labels.json``, every label with its score;
``report.json``. Boxes are xyxy in pixels of the upright picture, scores 0..1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import Field

from ghostyolo.config import StrictModel
from ghostyolo.data.formats import write_annotations, write_dataset
from ghostyolo.data.formats.write import place_picture
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import ConfigError, suggest
from ghostyolo.files import free_stem, write_json, write_text

PSEUDO_FOLDER = "pseudo"
LABELS_NAME = "pseudo-labels.json"
REPORT_NAME = "report.json"
SPLITS = ("train", "val", "test")
_BINS = 10


class Thresholds(StrictModel):
    """Which detections become labels."""

    confidence: float = Field(default=0.5, ge=0, le=1, description="label objects with a score above this, 0 to 1")
    class_confidence: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, description="another confidence for a class, by its name"
    )
    background: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="keep pictures without a score above this as background; none: leave out all without labels",
    )

    def check(self, class_names: Sequence[str]) -> None:
        """Refuse unknown classes.

        Raises:
            ConfigError: see above.
        """
        for name in self.class_confidence:
            if name not in class_names:
                raise ConfigError(f"a confidence is given for {name!r}, no class of the model: "
                                  f"{suggest(name, class_names)}")  # fmt: skip

    def of_classes(self, class_names: Sequence[str]) -> npt.NDArray[np.float32]:
        """The threshold of each class, (classes,)."""
        return np.array([self.class_confidence.get(name, self.confidence) for name in class_names], np.float32)

    def lowest(self, class_names: Sequence[str]) -> float:
        """The lowest score that decides anything."""
        lowest = min(self.class_confidence.get(name, self.confidence) for name in class_names)
        return lowest if self.background is None else min(lowest, self.background)


@dataclass(frozen=True)
class Candidate:
    """A picture and what was found on it.

    Attributes:
        path: the file.
        source: the name of its origin, for the sidecar.
        width, height: in pixels, upright.
        boxes_xyxy, scores, labels: (N, 4), (N,) and (N,), labels in the data set's order.
        empty: whether it may serve as background where none of it becomes a label.
    """

    path: Path
    source: str
    width: int
    height: int
    boxes_xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    empty: bool


@dataclass
class PseudoLabelReport:
    """What became of the pictures.

    Attributes:
        class_names: of the data set.
        labelled: pictures with pseudo-labels.
        background: pictures kept without an object.
        unsure: pictures left out, since nothing on them was sure enough to label.
        repeated: pictures left out, the same pixels as one before.
        already_labelled: pictures left out, the same pixels as one of the labelled data.
        skipped: (name, reason) of those that cannot be read, labelled ones too.
        boxes: pseudo-labels of each class, by name.
        histogram: pseudo-labels by score, in ten bins from 0 to 1.
        added_to: pictures of each split of the labelled data.
    """

    class_names: list[str]
    labelled: int = 0
    background: int = 0
    unsure: int = 0
    repeated: int = 0
    already_labelled: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    boxes: dict[str, int] = field(default_factory=dict)
    histogram: list[int] = field(default_factory=lambda: [0] * _BINS)
    added_to: dict[str, int] = field(default_factory=dict)

    @property
    def pictures(self) -> int:
        """Pictures looked at that could be read."""
        return self.labelled + self.background + self.unsure + self.repeated + self.already_labelled

    @property
    def objects(self) -> int:
        """Pseudo-labels of all classes."""
        return sum(self.histogram)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        edges = [index / _BINS for index in range(_BINS + 1)]
        bins = zip(edges, edges[1:], self.histogram, strict=False)
        return {
            "pictures": {
                "labelled": self.labelled,
                "background": self.background,
                "left_out": {
                    "unsure": self.unsure,
                    "repeated": self.repeated,
                    "already_labelled": self.already_labelled,
                    "unreadable": len(self.skipped),
                },
            },
            "boxes": {"all": self.objects, "classes": self.boxes},
            "scores": [{"from": low, "to": high, "boxes": count} for low, high, count in bins],
            "added_to": self.added_to,
            "skipped": [{"image": name, "reason": reason} for name, reason in self.skipped],
        }


class PseudoDataset:
    """A folder that is filled one picture after the other.

    ``finish`` makes it a data set.

    Args:
        folder: an empty or new folder.
        class_names: of the data set.
        thresholds: which detections become labels.
        labelled: data to copy beside the pseudo-labels; splits other than train, val and test stay away.
        link: hard links in place of copies.

    Attributes:
        report: the counts so far.

    Raises:
        OutputError: cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str],
        thresholds: Thresholds,
        labelled: DetectionData | None,
        *,
        link: bool,
    ) -> None:
        self._folder, self._class_names, self._link = folder, list(class_names), link
        self._limits = thresholds.of_classes(class_names)
        self._records: list[ImageRecord] = []
        self._entries: list[dict[str, Any]] = []
        self._taken: set[str] = set()
        self._counts: Counter[int] = Counter()
        self.report = PseudoLabelReport(self._class_names)
        self._splits: list[str] = []
        if labelled is not None:
            wanted = {split: labelled.splits[split] for split in SPLITS if labelled.splits.get(split)}
            data = DetectionData(labelled.root, labelled.layout, labelled.class_names, wanted)
            written = write_dataset(data, folder, "yolo", link=link)
            self._splits = list(written.splits)
            self.report.added_to = {split: len(records) for split, records in written.splits.items()}
            self.report.skipped += [(str(path), reason) for path, reason in labelled.skipped]
        self._pictures = folder / "images" / PSEUDO_FOLDER
        self._pictures.mkdir(parents=True, exist_ok=True)

    def add(self, candidate: Candidate) -> None:
        """Label a picture, keep it as background, or leave it out."""
        sure = candidate.scores > self._limits[candidate.labels]
        if sure.any():
            self.report.labelled += 1
        elif candidate.empty:
            self.report.background += 1
        else:
            self.report.unsure += 1
            return
        stem = free_stem(candidate.path.stem, lambda name: name.lower() in self._taken)
        self._taken.add(stem.lower())
        target = self._pictures / f"{stem}{candidate.path.suffix}"
        place_picture(candidate.path, target, link=self._link)
        boxes, scores, labels = candidate.boxes_xyxy[sure], candidate.scores[sure], candidate.labels[sure]
        self._records.append(
            ImageRecord(
                path=target,
                width=candidate.width,
                height=candidate.height,
                boxes_xyxy=boxes,
                labels=labels,
                ignore=np.zeros(len(labels), np.bool_),
                image_id=len(self._records),
            )
        )
        self._counts.update(labels.tolist())
        for score in scores.tolist():
            self.report.histogram[min(int(score * _BINS), _BINS - 1)] += 1
        objects = [
            {
                "box_xyxy": [round(corner, 3) for corner in box],
                "score": round(score, 6),
                "class_id": label,
                "class": self._class_names[label],
            }
            for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)
        ]
        self._entries.append(
            {
                "image": target.relative_to(self._folder).as_posix(),
                "source": candidate.source,
                "width": candidate.width,
                "height": candidate.height,
                "objects": objects,
            }
        )

    def finish(self, origin: Mapping[str, Any]) -> PseudoLabelReport:
        """Write labels, scores, the report and data.yaml.

        Args:
            origin: where the labels come from: goes into ``report.json`` and ``pseudo-labels.json`` as it is.
        """
        self.report.boxes = {name: self._counts[label] for label, name in enumerate(self._class_names)}
        write_annotations(self._folder, "yolo", self._class_names, {PSEUDO_FOLDER: self._records})
        content: dict[str, Any] = {split: f"images/{split}" for split in self._splits}
        hand_made = [content.pop("train")] if "train" in content else []
        content = {"path": ".", "train": [*hand_made, f"images/{PSEUDO_FOLDER}"], **content}
        content["names"] = dict(enumerate(self._class_names))
        write_text(self._folder / "data.yaml", yaml.safe_dump(content, sort_keys=False))
        write_json(self._folder / LABELS_NAME, {**origin, "pictures": self._entries})
        write_json(self._folder / REPORT_NAME, {**origin, **self.report.to_json()})
        return self.report

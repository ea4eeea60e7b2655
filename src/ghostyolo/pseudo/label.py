"""Labels that a detector gives to pictures without any. No torch.

The threshold decides what is learned: a wrong box above it teaches an error, an object below it becomes background
of its picture. Pictures without any sure object are left out by default, since a detector that is unsure has
not shown that nothing is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, NonNegativeInt, PositiveInt, ValidationError

from ghostyolo.data.check import look_at_pictures, pixel_digest
from ghostyolo.data.formats import load_dataset
from ghostyolo.data.records import DetectionData
from ghostyolo.data.split import training_splits
from ghostyolo.errors import ConfigError, DataError, OutputError, SourceError
from ghostyolo.evaluate.evaluation import match_class_names
from ghostyolo.files import staged
from ghostyolo.pseudo.dataset import (
    LABELS_NAME,
    PSEUDO_FOLDER,
    Candidate,
    PseudoDataset,
    PseudoLabelReport,
    Thresholds,
)
from ghostyolo.runtime.prediction import Prediction
from ghostyolo.runtime.predictor import Predictor
from ghostyolo.runtime.sources import VIDEO_SUFFIXES, Source

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ghostyolo.thresholds import Limits

Progress = Callable[[PseudoLabelReport], None]


def pseudo_label(
    predictor: Predictor,
    sources: Source | Iterable[Source],
    out: str | Path,
    *,
    thresholds: Thresholds | None = None,
    add_to: str | Path | None = None,
    link: bool = False,
    imgsz: int | None = None,
    batch: int = 1,
    weights: str = "",
    progress: Progress | None = None,
    **select: Unpack[Limits],
) -> PseudoLabelReport:
    """Label pictures with a detector and write a data set.

    It appears whole or not at all.

    Args:
        predictor: any detector.
        sources: picture files, folders and globs; no videos, addresses or arrays.
        out: a new folder; see :mod:`ghostyolo.pseudo.dataset` for what is in it.
        thresholds: which detections become labels; None: those above 0.5.
        add_to: labelled data of the same classes, in any layout, to copy beside them. Pictures that it has (equal
            pixels, in any split) get no pseudo-labels.
        link: hard links in place of copies of the pictures.
        imgsz, batch: see :meth:`Predictor.predict`.
        weights: how the report names the detector.
        progress: called after each picture with the counts so far.
        **select: ``iou``, ``max_detections``, ``vote``, ``tta``: :class:`ghostyolo.thresholds.Selection`.

    Raises:
        ConfigError: an impossible option, or the labelled data has other classes.
        SourceError: nothing to read, or none of it can be read.
        DataError: the labelled data is none, or no detection is sure enough.
        OutputError: ``out`` exists or cannot be written.
    """
    out, thresholds = Path(out), thresholds or Thresholds()
    check_new(out)
    if select.get("confidence") is not None:
        raise ConfigError("'confidence' of pseudo-labels is one of their thresholds: Thresholds(confidence=...)")
    thresholds.check(predictor.class_names)
    labelled = load_dataset(add_to) if add_to is not None else None
    if labelled is not None:
        if not labelled.splits.keys() <= {"train", "val", "test"}:
            labelled = replace(labelled, splits=training_splits(labelled))
        labelled.warn()
    class_names = predictor.class_names if labelled is None else labelled.class_names
    label_map = match_class_names(predictor.class_names, class_names)
    stream = predictor.open_sources(sources)
    if len(stream.paths) < len(stream):
        raise SourceError("pseudo-labels need picture files: fetch addresses and save arrays as files first")
    for path in stream.paths:
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise SourceError(f"{path} is a video: save its frames as pictures first, or name the pictures only")
    select["confidence"] = thresholds.lowest(class_names)
    predictions = predictor.predict(stream, imgsz=imgsz, batch=batch, **select)
    known = _digests(labelled) if labelled is not None else set()
    seen: set[bytes] = set()
    with staged(out) as folder:
        dataset = PseudoDataset(folder, class_names, thresholds, labelled, link=link)
        report = dataset.report
        for prediction in predictions:
            digest = pixel_digest(prediction.frame.image)
            if digest in known:
                report.already_labelled += 1
            elif digest in seen:
                report.repeated += 1
            else:
                dataset.add(_candidate(prediction, label_map, thresholds.background))
            seen.add(digest)
            if progress is not None:
                progress(report)
        report.skipped += stream.skipped
        _refuse_nothing(report, thresholds)
        origin: dict[str, Any] = {"weights": weights, "model": predictor.metadata.model}
        dataset.finish(origin | _described(thresholds))
    return report


def raise_thresholds(
    earlier: str | Path, out: str | Path, *, thresholds: Thresholds, link: bool = False
) -> PseudoLabelReport:
    """Write an earlier result again with higher thresholds, without running the detector.

    Args:
        earlier: a folder that :func:`pseudo_label` wrote; it stays as it is.
        out: a new folder.
        thresholds: none below the earlier ones. ``background`` is not asked: earlier background stays, and
            pictures that lose their last label are left out.
        link: hard links in place of copies of the pictures.

    Raises:
        ConfigError: a threshold is below the earlier one, or impossible.
        DataError: ``earlier`` is no such folder, or no detection is sure enough.
        OutputError: ``out`` exists or cannot be written.
    """
    earlier, out = Path(earlier), Path(out)
    check_new(out)
    sidecar = _read_sidecar(earlier)
    data = load_dataset(earlier)
    data.warn()
    names = data.class_names
    if any(item.class_id >= len(names) for picture in sidecar.pictures for item in picture.objects):
        raise _damaged(earlier)
    thresholds = thresholds.model_copy(update={"background": sidecar.background_confidence})
    thresholds.check(names)
    before = Thresholds(confidence=sidecar.confidence, class_confidence=sidecar.class_confidence).of_classes(names)
    for name, new, old in zip(names, thresholds.of_classes(names), before, strict=True):
        if new < old:
            raise ConfigError(f"{name}: {earlier} has scores above {old:g} only, not {new:g}: label the pictures again")
    pseudo = earlier / "images" / PSEUDO_FOLDER
    splits = {
        split: [record for record in records if pseudo not in record.path.parents]
        for split, records in data.splits.items()
    }
    labelled = DetectionData(data.root, data.layout, names, splits)
    with staged(out) as folder:
        dataset = PseudoDataset(folder, names, thresholds, labelled, link=link)
        for picture in sidecar.pictures:
            candidate = picture.candidate(earlier)
            if candidate.path.is_file():
                dataset.add(candidate)
            else:
                dataset.report.skipped.append((str(candidate.path), "no such picture"))
        _refuse_nothing(dataset.report, thresholds)
        return dataset.finish({"weights": sidecar.weights, "model": sidecar.model, **_described(thresholds)})


class _Object(BaseModel):
    box_xyxy: tuple[float, float, float, float]
    score: float
    class_id: NonNegativeInt


class _Picture(BaseModel):
    image: str
    source: str
    width: PositiveInt
    height: PositiveInt
    objects: list[_Object]

    def candidate(self, folder: Path) -> Candidate:
        return Candidate(
            path=folder / self.image,
            source=self.source,
            width=self.width,
            height=self.height,
            boxes_xyxy=np.array([item.box_xyxy for item in self.objects], np.float32).reshape(-1, 4),
            scores=np.array([item.score for item in self.objects], np.float32),
            labels=np.array([item.class_id for item in self.objects], np.int64),
            empty=not self.objects,
        )


class _Sidecar(BaseModel):
    """``pseudo-labels.json`` as :class:`PseudoDataset` writes it."""

    weights: str
    model: str
    confidence: float
    class_confidence: dict[str, float]
    background_confidence: float | None
    pictures: list[_Picture]


def _read_sidecar(folder: Path) -> _Sidecar:
    try:
        return _Sidecar.model_validate_json((folder / LABELS_NAME).read_bytes())
    except OSError as error:
        raise DataError(f"{folder} holds no {LABELS_NAME}: give a folder that pseudo-label wrote") from error
    except ValidationError as error:
        raise _damaged(folder) from error


def _damaged(folder: Path) -> DataError:
    return DataError(f"{folder / LABELS_NAME} is damaged: label the pictures again")


def _candidate(prediction: Prediction, label_map: npt.NDArray[np.int64], background: float | None) -> Candidate:
    frame, found = prediction.frame, prediction.detections
    height, width = frame.image.shape[:2]
    path = frame.path or Path(frame.name)  # a file: the sources were looked at
    return Candidate(
        path=path,
        source=str(path),
        width=width,
        height=height,
        boxes_xyxy=found.xyxy,
        scores=found.confidence,
        labels=label_map[found.class_id],
        empty=background is not None and not (found.confidence > np.float32(background)).any(),
    )


def _digests(data: DetectionData) -> set[bytes]:
    paths = [record.path for records in data.splits.values() for record in records]
    return {digest for _, digest, fault in look_at_pictures(paths) if not fault}


def _described(thresholds: Thresholds) -> dict[str, Any]:
    return {
        "confidence": thresholds.confidence,
        "class_confidence": dict(thresholds.class_confidence),
        "background_confidence": thresholds.background,
    }


def check_new(out: Path) -> None:
    """Raise :class:`OutputError` where something stands in the data set's place."""
    if out.exists():
        raise OutputError(f"{out} exists: choose a new folder for the data set, or delete it first")


def _refuse_nothing(report: PseudoLabelReport, thresholds: Thresholds) -> None:
    if not report.labelled:
        raise DataError(
            f"no picture gets a label: {report.unsure + report.background} have no detection above "
            f"{thresholds.confidence:g}, {report.already_labelled} are in the labelled data, "
            f"{len(report.skipped)} cannot be read; give other pictures or a lower confidence"
        )

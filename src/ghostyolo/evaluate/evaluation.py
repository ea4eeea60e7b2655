"""Runs a detector over a split and scores it.

No torch: the detector is anything with ``detect``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ghostyolo.data.records import ImageRecord
from ghostyolo.errors import ConfigError, DataError
from ghostyolo.evaluate.coco import CocoEvaluator, Metrics
from ghostyolo.evaluate.detections import ImageDetections
from ghostyolo.metadata import numbered_names
from ghostyolo.thresholds import METRIC_SELECTION, Limits, Selection

if TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]
ImageLoader = Callable[[ImageRecord], Image]


class PredictorLike(Protocol):
    """What evaluation asks of a detector; :class:`ghostyolo.runtime.predictor.Predictor` has it."""

    @property
    def class_names(self) -> Sequence[str]:
        """One name for each label of the detections."""

    def detect(
        self,
        images: list[Any],
        *,
        imgsz: int | None = None,
        rect: bool = True,
        multi_label: bool = False,
        **select: Unpack[Limits],
    ) -> Sequence[Any]:
        """Return a ``supervision.Detections`` for each picture, boxes in its own pixels."""


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics, and what they were computed from.

    Attributes:
        metrics: of the pictures that could be read.
        class_names: the data set's.
        records: the pictures that were evaluated, in the order they were given.
        detections: what was found in each, labels as in ``class_names``.
        skipped: pictures that could not be read, as (path, reason).
        detect_seconds: time inside the detector (letterbox, network, suppression), reading of files left out.
    """

    metrics: Metrics
    class_names: list[str]
    records: list[ImageRecord]
    detections: list[ImageDetections]
    skipped: list[tuple[Path, str]]
    detect_seconds: float

    @property
    def ms_per_image(self) -> float:
        """Milliseconds a picture inside the detector; 0 where no picture could be read."""
        return 1000 * self.detect_seconds / len(self.records) if self.records else 0.0


def evaluate(
    predictor: PredictorLike,
    records: Sequence[ImageRecord],
    class_names: Sequence[str],
    selection: Selection = METRIC_SELECTION,
    *,
    imgsz: int | None = None,
    batch: int = 16,
    progress: Callable[[int, int], None] | None = None,
    load_image: ImageLoader | None = None,
) -> EvaluationResult:
    """Detect in every picture and compute COCO metrics.

    The order of the pictures does not matter.

    Args:
        predictor: the detector.
        records: the labelled pictures; of one whose labels know some classes only, those alone are scored.
        class_names: the data set's names. The model must have the same ones; where it has them in another
            order, its labels are translated.
        imgsz: side in pixels to letterbox to; the model's own where None.
        selection: which boxes count as detections.
        batch: pictures a call of the detector.
        progress: called with (done, total) pictures after each batch.
        load_image: returns a record's picture, (H, W, C) uint8 RGB, and raises DataError or OSError where it
            cannot be read; called from several threads. Default: read the file.

    Returns:
        The metrics, the raw detections, and the pictures that could not be read, which no metric counts.

    Raises:
        ConfigError: model and data have different classes, or batch is below 1.
        DataError: there is no picture, or none can be read.
        WeightsError: the model's outputs are not finite.
    """
    import supervision  # noqa: F401  the detector imports it at its first call, which would count as its time

    if batch < 1:
        raise ConfigError(f"batch is {batch}; it must be at least 1")
    evaluator = CocoEvaluator(class_names)
    label_map = match_class_names(predictor.class_names, class_names)
    if not records:
        raise DataError("there is no picture to evaluate on; choose another split or data set")

    found: dict[int, ImageDetections] = {}
    skipped: list[tuple[Path, str]] = []
    seconds = 0.0
    done = 0
    for images in _read_batches(records, batch, load_image or _file_loader(predictor)):
        readable = {position: image for position, image in images.items() if not isinstance(image, Exception)}
        skipped += [(records[position].path, str(images[position])) for position in images if position not in readable]
        start = time.perf_counter()
        results = (
            predictor.detect(list(readable.values()), imgsz=imgsz, rect=True, multi_label=True, **dict(selection))
            if readable
            else []
        )
        seconds += time.perf_counter() - start
        for position, result in zip(readable, results, strict=True):
            found[position] = _judged(result, label_map, records[position])
        done += len(images)
        if progress is not None:
            progress(done, len(records))

    for path, reason in skipped:
        log.warning("skipped %s: %s", path, reason)
    if not found:
        raise DataError(f"none of the {len(records)} pictures can be read; the first: {skipped[0][1]}")
    evaluated = sorted(found)
    for position in evaluated:
        evaluator.add(records[position], found[position])
    return EvaluationResult(
        metrics=evaluator.compute(),
        class_names=list(class_names),
        records=[records[position] for position in evaluated],
        detections=[found[position] for position in evaluated],
        skipped=skipped,
        detect_seconds=seconds,
    )


def _judged(result: Any, label_map: npt.NDArray[np.int64], record: ImageRecord) -> ImageDetections:
    """The detections that the picture's labels can judge, with the data's labels."""
    detections = ImageDetections.from_supervision(result)
    labels = label_map[detections.labels]
    kept = slice(None) if record.known is None else record.known[labels]
    return ImageDetections(detections.boxes_xyxy[kept], detections.scores[kept], labels[kept])


def match_class_names(model: Sequence[str], data: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the data's label for each of the model's.

    A file that names no classes has them in the data's order.

    Raises:
        ConfigError: the names are not the same set.
    """
    model, data = list(model), list(data)
    if len(model) != len(data):
        raise ConfigError(
            f"the model has {len(model)} classes ({_few(model)}), the data {len(data)} ({_few(data)}); "
            "take data with the model's classes"
        )
    if model == numbered_names(len(model)):
        log.warning("the weights name no classes: they are taken in the data's order (%s)", _few(data))
        return np.arange(len(data))
    if sorted(model) != sorted(data):
        position = next(i for i, name in enumerate(model) if name not in data)
        missing = next(name for name in data if name not in model)
        raise ConfigError(
            f"the model's class {model[position]!r} is not in the data, and the data's {missing!r} is not in "
            "the model; take data with the model's classes"
        )
    return np.array([data.index(name) for name in model], dtype=np.int64)


def _few(names: list[str], count: int = 5) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _shape_key(record: ImageRecord) -> tuple[float, int, str]:
    return (record.width / max(record.height, 1), record.image_id, str(record.path))


def _file_loader(predictor: PredictorLike) -> ImageLoader:
    from ghostyolo.data.images import read_image

    metadata = getattr(predictor, "metadata", None)
    channels, pixel_range = getattr(metadata, "in_channels", 3), getattr(metadata, "pixel_range", None)

    def load(record: ImageRecord) -> Image:
        return read_image(record.path, channels, pixel_range or record.pixel_range)

    return load


def _read_batches(
    records: Sequence[ImageRecord], batch: int, loader: ImageLoader
) -> Iterator[dict[int, Image | Exception]]:
    """Yield position -> picture, reading the next batch while the detector works on this one.

    Pictures of like shape share a batch, so that rectangular letterboxes pad little. The id settles ties, so the
    batches are the same whatever order the records come in.
    """

    def load(position: int) -> Image | Exception:
        try:
            return loader(records[position])
        except (DataError, OSError) as error:
            return error

    order = sorted(range(len(records)), key=lambda position: _shape_key(records[position]))
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        ahead = [pool.submit(load, position) for position in batches[0]]
        for number, positions in enumerate(batches):
            current = ahead
            if number + 1 < len(batches):
                ahead = [pool.submit(load, position) for position in batches[number + 1]]
            yield {position: future.result() for position, future in zip(positions, current, strict=True)}

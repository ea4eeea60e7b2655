"""Time the three steps of a predictor: before the network, the network, after it.

Milliseconds of one call: a batch of pictures through the detector.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError
from ghostyolo.runtime.sources import Source, Sources
from ghostyolo.runtime.weights import assets_folder

if TYPE_CHECKING:
    from ghostyolo.runtime.predictor import Predictor

MAX_PICTURES = 8
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Call:
    """Milliseconds of the three steps of one call.

    The steps are before the network, the network, after it.
    """

    preprocess: float
    inference: float
    postprocess: float

    @property
    def total(self) -> float:
        """Picture in, boxes out."""
        return self.preprocess + self.inference + self.postprocess


@dataclass(frozen=True)
class Timing:
    """What many calls took, in milliseconds a call.

    Attributes:
        median_ms, p95_ms: the network alone: median, and what 95 of 100 calls stay under.
        preprocess_ms, postprocess_ms: medians of letterbox and scaling, of threshold, NMS and mapping boxes back.
        total_ms, total_p95_ms: the three together, picture in, boxes out.
        images_per_second: pictures at the median of the three together.
        batch: pictures in a call.
        runs: timed calls.
    """

    median_ms: float
    p95_ms: float
    preprocess_ms: float
    postprocess_ms: float
    total_ms: float
    total_p95_ms: float
    images_per_second: float
    batch: int
    runs: int


def summarise(calls: Sequence[Call], batch: int) -> Timing:
    """Medians and 95th percentiles (linear between neighbours) of at least one call."""
    inference = [call.inference for call in calls]
    totals = [call.total for call in calls]
    total = statistics.median(totals)
    return Timing(
        median_ms=statistics.median(inference),
        p95_ms=float(np.percentile(inference, 95)),
        preprocess_ms=statistics.median(call.preprocess for call in calls),
        postprocess_ms=statistics.median(call.postprocess for call in calls),
        total_ms=total,
        total_p95_ms=float(np.percentile(totals, 95)),
        images_per_second=1000 * batch / total,
        batch=batch,
        runs=len(calls),
    )


def read_pictures(images: Source | Iterable[Source] | None, channels: int = 3) -> list[Picture]:
    """Read the first pictures or frames of the sources.

    They are at most MAX_PICTURES, without sources the built-in ones. A network of more than three channels, which no
    built-in picture has, is given noise.

    Raises:
        SourceError: nothing to read, or none of it can be read.
    """
    if images is None and channels > 3:
        return [np.random.default_rng(0).integers(0, 256, (480, 640, channels), dtype=np.uint8)]
    sources = Sources(assets_folder() / "pictures" if images is None else images, max(3, channels))
    return [frame.image for frame in itertools.islice(sources, MAX_PICTURES)]


def batches(pictures: list[Picture], batch: int) -> Iterator[list[Picture]]:
    """Go round the pictures for ever, so many a call."""
    stream = itertools.cycle(pictures)
    while True:
        yield list(itertools.islice(stream, batch))


def time_call(predictor: Predictor, pictures: list[Picture], imgsz: int | None) -> Call:
    """Run one batch on a square canvas and time its steps."""
    start = time.perf_counter()
    prepared = predictor.prepare(pictures, imgsz=imgsz, rect=False)
    ready = time.perf_counter()
    boxes_xyxy, scores = predictor.engine(prepared.inputs)
    answered = time.perf_counter()
    predictor.finish(prepared, boxes_xyxy, scores)
    end = time.perf_counter()
    return Call((ready - start) * 1000, (answered - ready) * 1000, (end - answered) * 1000)


def check_counts(batch: int, runs: int, warmup: int) -> None:
    """Refuse counts that measure nothing.

    Raises:
        ConfigError: batch or runs below 1, warmup below 0.
    """
    for name, value, least in (("batch", batch, 1), ("runs", runs, 1), ("warmup", warmup, 0)):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, not {value}")


def time_predictor(
    predictor: Predictor,
    images: Source | Iterable[Source] | None,
    *,
    imgsz: int | None,
    batch: int,
    runs: int,
    warmup: int,
) -> Timing:
    """See :meth:`ghostyolo.runtime.predictor.Predictor.benchmark`."""
    check_counts(batch, runs, warmup)
    stream = batches(read_pictures(images, predictor.metadata.in_channels), batch)
    for _ in range(warmup):
        time_call(predictor, next(stream), imgsz)
    return summarise([time_call(predictor, next(stream), imgsz) for _ in range(runs)], batch)

"""Does the exported file give the network's answers? Compared at every export, on pictures.

Both are run as a user would run them, the file by its own engine, the folded network by torch in float32, on the same
canvases. Three things are compared: the raw boxes and scores anchor by anchor; the detections that are left at a score
of 0.25; and, where labelled pictures are given, AP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ghostyolo.data.images import read_image
from ghostyolo.data.letterbox import network_input
from ghostyolo.data.records import ImageRecord
from ghostyolo.data.split import load_split
from ghostyolo.errors import DataError, WeightsError
from ghostyolo.evaluate.detections import box_overlaps
from ghostyolo.metadata import ModelMetadata, Precision
from ghostyolo.models.detector import DetectionModel
from ghostyolo.runtime.engines import Engine, open_engine
from ghostyolo.runtime.engines.torch import TorchEngine
from ghostyolo.runtime.predictor import Predictor, plan_batch
from ghostyolo.runtime.weights import assets_folder

Image = npt.NDArray[np.uint8]
CONFIDENCE = 0.25
CONFIDENT = 0.1  # half precision is held to its answers at the anchors that score this much
SAME_OBJECT = 0.5  # IoU
_SAMPLED = 16  # pictures of a data set


@dataclass(frozen=True)
class LabelledPictures:
    """Part of a data set to measure AP on."""

    records: Sequence[ImageRecord]
    class_names: Sequence[str]


def read_labelled(data: str | Path, split: str) -> LabelledPictures:
    """Read a split of a data set.

    Raises:
        DataError: no such data or split.
    """
    dataset = load_split(data, split).checked(split)
    return LabelledPictures(dataset.splits[split], dataset.class_names)


@dataclass(frozen=True)
class Tolerance:
    """What a precision is allowed.

    Attributes:
        pixels: largest difference of a box corner.
        score: largest difference of a score.
        confident: only anchors that score :data:`CONFIDENT` count.
        matched: share of the network's detections that the file must have, and the other way round.
        ap: points of 100 that AP may fall, where it is measured.
    """

    pixels: float
    score: float
    confident: bool
    matched: float
    ap: float


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(pixels=0.1, score=1e-3, confident=False, matched=1.0, ap=0.1),
    "fp16": Tolerance(pixels=2.0, score=0.02, confident=True, matched=0.98, ap=0.5),
    "int8": Tolerance(pixels=float("inf"), score=float("inf"), confident=True, matched=0.7, ap=1.0),
}


@dataclass(frozen=True)
class ParityReport:
    """How far a file is from its network.

    Attributes:
        format, engine, precision: of the file.
        images: pictures that were compared.
        origin: what they are, such as ``"built-in pictures"``.
        pixels: largest difference of a box corner at any anchor, in pixels of the canvas; None where the file has
            suppressed detections only.
        score: largest difference of a score.
        confident_pixels, confident_score: of the anchors that score 0.1 or more in the network; None: there is none.
        detections, found, matched: of the network, of the file, and in both (same class, IoU of 0.5 or more).
        matched_pixels, matched_score: largest differences of those in both, in pixels of the pictures.
        ap_network, ap_file: AP in 0..1, None where it was not measured.
        tolerance: what was allowed.
        failures: what went past it, in words.
    """

    format: str
    engine: str
    precision: Precision
    images: int
    origin: str
    pixels: float | None
    score: float | None
    confident_pixels: float | None
    confident_score: float | None
    detections: int
    found: int
    matched: int
    matched_pixels: float
    matched_score: float
    ap_network: float | None
    ap_file: float | None
    tolerance: Tolerance
    failures: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: a tolerance that allows everything is null."""
        report = asdict(self)
        report["tolerance"] = {
            key: None if value == float("inf") else value for key, value in report["tolerance"].items()
        }
        return report

    def summary(self) -> str:
        """One line for the console."""
        parts = []
        if self.pixels is not None and self.score is not None:
            parts.append(f"boxes within {self.pixels:.2g} pixels, scores within {self.score:.2g}")
        if self.detections or self.found:
            parts.append(f"{self.matched} of {self.detections} detections matched (the file has {self.found})")
        else:
            parts.append(f"no score above {CONFIDENCE:g} on them: give pictures with your objects (--data or --images)")
        if self.ap_file is not None and self.ap_network is not None:
            parts.append(f"AP {self.ap_file:.3f}, the network's {self.ap_network:.3f}")
        return "; ".join(parts)


def check_parity(
    folded: DetectionModel,
    metadata: ModelMetadata,
    path: Path,
    images: Sequence[Image] | None = None,
    labelled: LabelledPictures | None = None,
    tolerance: Tolerance | None = None,
) -> ParityReport:
    """Run both on the pictures.

    Args:
        folded: the network, in evaluation mode.
        metadata: what the file says about itself, with ``export`` set.
        path: the exported file or folder.
        images: (H, W, C) uint8 RGB; None: some of ``labelled``, without these built-in pictures, and noise for other
            than 3 channels.
        labelled: pictures to measure AP on.
        tolerance: None: the precision's own.

    Raises:
        WeightsError: the file cannot be opened.
        MissingExtraError: its engine is not installed.
    """
    assert metadata.export is not None
    precision = metadata.export.precision
    allowed = tolerance or TOLERANCES[precision]
    # The network gets the file's description, so that both see the same canvases.
    reference = Predictor(TorchEngine(folded, metadata))
    exported = Predictor(open_engine(path))
    pictures, origin = _pictures(images, labelled, metadata)
    raw = _Raw()
    if metadata.export.output != "nms":
        for canvas in _canvases(pictures, metadata, exported.canvas):
            raw.add(reference.engine, exported.engine, canvas)
    pairs = _Pairs()
    for picture in pictures:
        expected = reference.detect([picture], confidence=CONFIDENCE)[0]
        # A file that answers with what is no number finds nothing: that is the difference to report.
        try:
            pairs.add(expected, exported.detect([picture], confidence=CONFIDENCE)[0])
        except WeightsError:
            pairs.add(expected, expected[:0])
    ap: list[float | None] = [None, None]
    if labelled:
        ap[0] = _average_precision(reference, labelled)
        try:
            ap[1] = _average_precision(exported, labelled)
        except WeightsError:
            ap[1] = 0.0
    report = ParityReport(
        format=metadata.export.format,
        engine=exported.engine.name,
        precision=precision,
        images=len(pictures),
        origin=origin,
        pixels=raw.pixels,
        score=raw.score,
        confident_pixels=raw.confident_pixels,
        confident_score=raw.confident_score,
        detections=pairs.expected,
        found=pairs.found,
        matched=pairs.matched,
        matched_pixels=pairs.pixels,
        matched_score=pairs.score,
        ap_network=ap[0],
        ap_file=ap[1],
        tolerance=allowed,
    )
    return ParityReport(**{**report.__dict__, "failures": tuple(_failures(report))})


def _pictures(
    images: Sequence[Image] | None, labelled: LabelledPictures | None, metadata: ModelMetadata
) -> tuple[list[Image], str]:
    """The pictures to compare on, and what they are."""
    if images is not None:
        return list(images), "given pictures"
    if labelled is None:
        return built_in_pictures(metadata.in_channels), "built-in pictures"
    records = [record for record in labelled.records if len(record.labels)] or list(labelled.records)
    pictures = []
    for record in records[:: -(-len(records) // _SAMPLED) or 1]:
        try:
            pictures.append(read_image(record.path, metadata.in_channels, metadata.pixel_range or record.pixel_range))
        except (DataError, OSError):
            continue  # scoring says which pictures cannot be read
    return (pictures, "pictures of the data") if pictures else _pictures(None, None, metadata)


def built_in_pictures(channels: int) -> list[Image]:
    """Return the pictures inside the package, with one of noise.

    There is noise alone for channels that no picture file has.
    """
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, channels), dtype=np.uint8)
    if channels > 3:
        return [noise]
    paths = sorted((assets_folder() / "pictures").glob("*.jpg"))
    return [*(read_image(path, channels=channels) for path in paths), noise]


class _Raw:
    """Largest differences, anchor by anchor."""

    def __init__(self) -> None:
        self.pixels: float | None = None
        self.score: float | None = None
        self.confident_pixels: float | None = None
        self.confident_score: float | None = None

    def add(self, reference: Engine, exported: Engine, images: npt.NDArray[np.float32]) -> None:
        boxes, scores = reference(images)
        other_boxes, other_scores = exported(images)
        if other_boxes.shape != boxes.shape or other_scores.shape != scores.shape:
            self.pixels = self.score = float("inf")
            return
        # What is not a number is as far off as can be.
        pixels = np.nan_to_num(np.abs(other_boxes - boxes).max(2), nan=np.inf)
        score = np.nan_to_num(np.abs(other_scores - scores).max(2), nan=np.inf)
        self.pixels, self.score = _most(self.pixels, pixels), _most(self.score, score)
        confident = scores.max(2) >= CONFIDENT
        self.confident_pixels = _most(self.confident_pixels, pixels[confident])
        self.confident_score = _most(self.confident_score, score[confident])


def _most(so_far: float | None, values: npt.NDArray[np.float32]) -> float | None:
    if values.size == 0:
        return so_far
    return max(so_far or 0.0, float(values.max()))


class _Pairs:
    """Detections of both, paired greedily by overlap."""

    def __init__(self) -> None:
        self.expected = self.found = self.matched = 0
        self.pixels = self.score = 0.0

    def add(self, expected: Any, found: Any) -> None:
        self.expected += len(expected)
        self.found += len(found)
        overlaps = box_overlaps(expected.xyxy, found.xyxy, np.zeros(len(found), dtype=bool))
        overlaps[expected.class_id[:, None] != found.class_id[None, :]] = 0
        for _ in range(min(overlaps.shape)):
            row, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
            if overlaps[row, column] < SAME_OBJECT:
                return
            self.matched += 1
            self.pixels = max(self.pixels, float(np.abs(expected.xyxy[row] - found.xyxy[column]).max()))
            self.score = max(self.score, abs(float(expected.confidence[row] - found.confidence[column])))
            overlaps[row] = overlaps[:, column] = -1


def _canvases(
    pictures: Sequence[Image], metadata: ModelMetadata, canvas: tuple[int, int] | None
) -> list[npt.NDArray[np.float32]]:
    """The pictures as input (1, C, H, W), each on the canvas that prediction would use."""
    inputs = []
    for picture in pictures:
        size = (picture.shape[1], picture.shape[0])
        side, free = canvas or metadata.imgsz, canvas is None
        (plan,) = plan_batch([size], side, metadata.stride, free, metadata.resize, metadata.place)
        inputs.append(network_input([picture], [plan]))
    return inputs


def _average_precision(predictor: Predictor, labelled: LabelledPictures) -> float | None:
    from ghostyolo.evaluate import evaluate

    with torch.no_grad():
        return evaluate(predictor, labelled.records, labelled.class_names).metrics.AP


def _failures(report: ParityReport) -> list[str]:
    allowed, failures = report.tolerance, []
    pixels, score = report.pixels, report.score
    if allowed.confident:
        pixels, score = report.confident_pixels, report.confident_score
    if pixels is not None and not pixels <= allowed.pixels:
        failures.append(f"boxes are {pixels:.3g} pixels apart (allowed {allowed.pixels:g})")
    if score is not None and not score <= allowed.score:
        failures.append(f"scores are {score:.3g} apart (allowed {allowed.score:g})")
    most = max(report.detections, report.found)
    if most and report.matched < allowed.matched * most - 1 + allowed.matched:
        failures.append(
            f"{report.matched} detections agree, the network has {report.detections}, the file {report.found}"
        )
    if report.ap_network is not None and report.ap_file is not None:
        drop = 100 * (report.ap_network - report.ap_file)
        if drop > allowed.ap:
            failures.append(f"AP falls by {drop:.2f} points (allowed {allowed.ap:g})")
    return failures

"""Turns a float network into an INT8 file: calibrate, try, measure, report.

It does the same for all formats.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from ghostyolo.data.images import PixelRange
from ghostyolo.data.letterbox import TRAINED_RESIZE, Resize
from ghostyolo.errors import ConfigError
from ghostyolo.evaluate import evaluate
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.formats import ExportFormat, Unfinished
from ghostyolo.export.parity import Image, LabelledPictures
from ghostyolo.export.quantise import Canvas
from ghostyolo.export.quantise.calibration import IMAGES, canvas_of, canvases_of_data, canvases_of_folder, in_batches
from ghostyolo.export.quantise.float_layers import Trial, choose, rank_layers, search, well_known
from ghostyolo.export.quantise.int8_report import QuantisationReport
from ghostyolo.files import move_into_place, size_in_megabytes
from ghostyolo.models.detector import DetectionModel
from ghostyolo.runtime.engines import open_engine
from ghostyolo.runtime.predictor import Predictor

COMPARED = 16  # pictures
NO_PICTURES = "precision int8 needs pictures to calibrate on: give --data D, or --calibration FOLDER"
WARMUP, CALLS = 3, 30


@dataclass(frozen=True)
class Quantisation:
    """How to quantise.

    Attributes:
        calibration: pictures that ranges are taken from, each (1, C, H, W) float32 in 0..1, on the file's canvas
            (:mod:`ghostyolo.export.quantise.calibration`).
        max_drop: points of 100 that AP may fall; layers stay in float until it does.

    Raises:
        ConfigError: no picture, or a negative drop.
    """

    calibration: Sequence[Canvas]
    max_drop: float = 1.0

    def __post_init__(self) -> None:
        if not self.calibration:
            raise ConfigError(NO_PICTURES)
        if not self.max_drop >= 0:
            raise ConfigError(f"max_drop must be 0 or more points of AP, not {self.max_drop}")

    def pictures(self) -> list[npt.NDArray[np.uint8]]:
        """A few of the canvases as pictures (H, W, C)."""
        some = self.calibration[:: -(-len(self.calibration) // COMPARED)]
        return [np.rint(canvas[0].transpose(1, 2, 0) * 255).astype(np.uint8) for canvas in some]


def read_quantisation(
    data: str | Path | None,
    calibration: str | Path | Sequence[Image] | None,
    size: tuple[int, int],
    channels: int = 3,
    images: int = IMAGES,
    max_drop: float = 1.0,
    resize: Resize = TRAINED_RESIZE,
    pixel_range: PixelRange | None = None,
) -> Quantisation:
    """Read the pictures to calibrate on.

    Args:
        data: a data set, whose train split is taken where there is no ``calibration``.
        calibration: a folder of pictures, or pictures (H, W, C) uint8 RGB.
        size: (height, width) of the canvas in pixels.
        channels: of the network's input.
        images: at most so many.
        max_drop: see :class:`Quantisation`.
        resize, pixel_range: how pictures are shrunk and scaled, as the network's metadata says.

    Raises:
        ConfigError: neither data nor folder, or an impossible number.
        DataError, SourceError: there are no pictures.
    """
    if calibration is not None and not isinstance(calibration, str | Path):
        return Quantisation([canvas_of(picture, size, resize) for picture in calibration[:images]], max_drop)
    if calibration is not None:
        return Quantisation(canvases_of_folder(calibration, size, channels, images, 0, resize, pixel_range), max_drop)
    if data is None:
        raise ConfigError(NO_PICTURES)
    return Quantisation(canvases_of_data(data, size, channels, images, 0, resize, pixel_range), max_drop)


def quantise_network(
    kind: ExportFormat,
    job: ExportJob,
    folded: DetectionModel,
    path: Path,
    quantisation: Quantisation,
    labelled: LabelledPictures | None,
) -> QuantisationReport:
    """Write an INT8 file.

    Args:
        kind: its format.
        job: ``job.metadata.export.precision`` is ``"int8"``.
        folded: the network of the job.
        path: of the file or folder.
        quantisation: how.
        labelled: pictures to measure AP on; None: everything is quantised, and AP is not measured.

    Raises:
        ConfigError: AP cannot be measured on these pictures.
        Unfinished: the file cannot be made on this machine.
        ExportError: the format's library cannot quantise the network.
    """
    calibration = quantisation.calibration
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=path.parent) as name:
        room = Path(name)
        try:
            reference = _write_float(kind, job, room / "float" / path.name)
        except Unfinished:  # then there is nothing to compare with: leave what INT8 can be made of elsewhere
            kind.quantise_file(job, path, calibration, frozenset())
            raise
        trials = _Trials(kind, job, room, path.name, calibration)
        choice = _choose_layers(folded, reference, trials, quantisation, labelled)
        file = trials.file(choice.best.kept)
        sizes = [size_in_megabytes(place) for place in (reference, file)]
        engine, times = _compare_latency([reference, file], in_batches(calibration[:1], job)[0])
        move_into_place(file, path)
    return QuantisationReport(
        format=kind.name,
        engine=engine,
        calibration_images=len(calibration),
        megabytes_float=sizes[0],
        megabytes=sizes[1],
        ap_float=choice.ap_float,
        ap=choice.ap,
        max_drop=quantisation.max_drop,
        ms_float=times[0],
        ms=times[1],
        canvas=(calibration[0].shape[2], calibration[0].shape[3]),
        layers=sum(isinstance(module, nn.Conv2d) for module in folded.modules()),
        kept=tuple(sorted(choice.best.kept)),
        why={layer: choice.why(layer) for layer in sorted(choice.best.kept)},
        trials=tuple((len(trial.kept), round(trial.drop, 3)) for trial in choice.trials),
    )


class _Trials:
    """INT8 files of one network that keep different layers in float, each written once."""

    def __init__(
        self, kind: ExportFormat, job: ExportJob, room: Path, name: str, calibration: Sequence[Canvas]
    ) -> None:
        self._kind, self._job, self._room, self._name, self._calibration = kind, job, room, name, calibration
        self._files: dict[frozenset[str], Path] = {}

    def file(self, kept: frozenset[str]) -> Path:
        if kept not in self._files:
            path = self._room / str(len(self._files)) / self._name
            path.parent.mkdir()
            self._kind.quantise_file(self._job, path, self._calibration, kept)
            self._files[kept] = path
        return self._files[kept]


@dataclass(frozen=True)
class _Choice:
    best: Trial
    trials: Sequence[Trial] = ()
    ap_float: float | None = None
    ap: float | None = None
    known: Sequence[str] = ()

    def why(self, layer: str) -> str:
        return "known to be sensitive" if layer in self.known else "measured"


def _choose_layers(
    folded: DetectionModel,
    reference: Path,
    files: _Trials,
    quantisation: Quantisation,
    labelled: LabelledPictures | None,
) -> _Choice:
    """Find which layers stay in float; without labelled pictures none."""
    if labelled is None:
        return _Choice(Trial(frozenset(), 0.0))
    ap_float, known = _average_precision(reference, labelled), well_known(folded)
    scores: dict[frozenset[str], float] = {}

    def measure(kept: frozenset[str]) -> float:
        scores[kept] = _average_precision(files.file(kept), labelled)
        return 100 * (ap_float - scores[kept])

    trials = search(measure, quantisation.max_drop, known, lambda: list(rank_layers(folded, quantisation.calibration)))
    best = choose(trials, quantisation.max_drop)
    return _Choice(best, trials, ap_float, scores[best.kept], known)


def _write_float(kind: ExportFormat, job: ExportJob, path: Path) -> Path:
    assert job.metadata.export is not None
    export = job.metadata.export.model_copy(update={"precision": "fp32"})
    path.parent.mkdir()
    kind.write_file(replace(job, metadata=job.metadata.model_copy(update={"export": export})), path)
    return path


def _average_precision(path: Path, labelled: LabelledPictures) -> float:
    predictor = Predictor(open_engine(path))
    average = evaluate(predictor, labelled.records, labelled.class_names).metrics.AP
    if average is None:
        raise ConfigError("AP cannot be measured on pictures without objects: give another --data or --split")
    return average


def _compare_latency(files: Sequence[Path], images: Canvas) -> tuple[str, list[float]]:
    """Return the engine's name, and median milliseconds of one call of each file.

    In turns, so that all meet the same machine. No engine is left open: some systems cannot move a file that is.
    """
    engines = [open_engine(file, threads=1) for file in files]
    times: list[list[float]] = [[] for _ in engines]
    for number in range(WARMUP + CALLS):
        for engine, own in zip(engines, times, strict=True):
            start = time.perf_counter()
            engine(images)
            if number >= WARMUP:
                own.append(1000 * (time.perf_counter() - start))
    return engines[0].name, [statistics.median(own) for own in times]

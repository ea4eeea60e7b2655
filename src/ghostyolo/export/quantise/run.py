"""From a float network to an INT8 file: calibrate, try, measure, report. The same for all formats."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from ghostyolo.data.letterbox import TRAINED_RESIZE, Resize
from ghostyolo.errors import ConfigError, ExportError
from ghostyolo.evaluate import evaluate
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.formats import ExportFormat
from ghostyolo.export.parity import LabelledPictures
from ghostyolo.export.quantise.calibration import IMAGES, canvases_of_data, canvases_of_folder, in_batches
from ghostyolo.export.quantise.latency import compare_latency
from ghostyolo.export.quantise.report import QuantisationReport
from ghostyolo.export.quantise.search import Trial, choose, search
from ghostyolo.export.quantise.sensitivity import rank_layers, well_known
from ghostyolo.export.unfinished import Unfinished
from ghostyolo.files import move_into_place, size_in_megabytes
from ghostyolo.models.detector import DetectionModel
from ghostyolo.runtime.engines import open_engine
from ghostyolo.runtime.predictor import Predictor

COMPARED = 16  # pictures
NO_PICTURES = "precision int8 needs pictures to calibrate on: give --data D, or --calibration FOLDER"
Writer = Callable[[ExportJob, Path], None]


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

    calibration: Sequence[npt.NDArray[np.float32]]
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
    calibration: str | Path | None,
    size: tuple[int, int],
    channels: int = 3,
    images: int = IMAGES,
    max_drop: float = 1.0,
    resize: Resize = TRAINED_RESIZE,
) -> Quantisation:
    """Read the pictures to calibrate on.

    Args:
        data: a data set, whose train split is taken where there is no ``calibration``.
        calibration: a folder of pictures.
        size: (height, width) of the canvas in pixels.
        channels: of the network's input.
        images: at most so many.
        max_drop: see :class:`Quantisation`.
        resize: how pictures are shrunk, as the network's metadata says.

    Raises:
        ConfigError: neither data nor folder, or an impossible number.
        DataError, SourceError: there are no pictures.
    """
    if calibration is not None:
        return Quantisation(canvases_of_folder(calibration, size, channels, images, resize=resize), max_drop)
    if data is None:
        raise ConfigError(NO_PICTURES)
    return Quantisation(canvases_of_data(data, size, channels, images, resize=resize), max_drop)


def quantise_network(
    kind: ExportFormat,
    job: ExportJob,
    folded: DetectionModel,
    path: Path,
    quantisation: Quantisation,
    labelled: LabelledPictures | None,
    write: Writer,
) -> QuantisationReport:
    """Write an INT8 file.

    Args:
        kind: its format.
        job: ``job.metadata.export.precision`` is ``"int8"``.
        folded: the network of the job.
        path: of the file or folder.
        quantisation: how.
        labelled: pictures to measure AP on; None: everything is quantised, and AP is not measured.
        write: the format's writer, for the float file to compare with.

    Raises:
        ConfigError: AP cannot be measured on these pictures.
        Unfinished: the file cannot be made on this machine.
        ExportError: the format's library cannot quantise the network.
    """
    calibration = quantisation.calibration
    quantiser = _load(kind.quantiser)
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=path.parent) as room:
        reference = Path(room) / "float" / path.name
        reference.parent.mkdir()
        try:
            _write_float(job, reference, write)
        except Unfinished:  # then there is nothing to compare with: leave what INT8 can be made of elsewhere
            quantiser(job, path, calibration, frozenset())
            raise
        trials: dict[frozenset[str], Path] = {}

        def trial(kept: frozenset[str]) -> Path:
            trials[kept] = Path(room) / str(len(trials)) / path.name
            trials[kept].parent.mkdir()
            quantiser(job, trials[kept], calibration, kept)
            if not trials[kept].exists():
                raise ExportError(f"{kind.name}: its quantiser left no {path.name}")
            return trials[kept]

        ap_float, tried, known, best = None, [], well_known(folded), Trial(frozenset(), 0.0)
        scores: dict[frozenset[str], float] = {}
        if labelled is None:
            trial(frozenset())
        else:
            ap_float = _average_precision(reference, labelled)

            def measure(kept: frozenset[str]) -> float:
                scores[kept] = _average_precision(trial(kept), labelled)
                return 100 * (ap_float - scores[kept])

            tried = search(measure, quantisation.max_drop, known, lambda: list(rank_layers(folded, calibration)))
            best = choose(tried, quantisation.max_drop)
        sizes = [size_in_megabytes(one) for one in (reference, trials[best.kept])]
        engines = [open_engine(one, threads=1) for one in (reference, trials[best.kept])]
        times = compare_latency(engines, in_batches(calibration[:1], job)[0])
        name = engines[0].name
        del engines  # some systems cannot move a file that is open
        move_into_place(trials[best.kept], path)
    return QuantisationReport(
        format=kind.name,
        engine=name,
        calibration_images=len(calibration),
        megabytes_float=sizes[0],
        megabytes=sizes[1],
        ap_float=ap_float,
        ap=scores.get(best.kept),
        max_drop=quantisation.max_drop,
        ms_float=times[0],
        ms=times[1],
        canvas=(calibration[0].shape[2], calibration[0].shape[3]),
        layers=sum(isinstance(module, nn.Conv2d) for module in folded.modules()),
        kept=tuple(sorted(best.kept)),
        why={path: "known to be sensitive" if path in known else "measured" for path in sorted(best.kept)},
        trials=tuple((len(one.kept), round(one.drop, 3)) for one in tried),
    )


def _write_float(job: ExportJob, path: Path, write: Writer) -> None:
    assert job.metadata.export is not None
    export = job.metadata.export.model_copy(update={"precision": "fp32"})
    write(replace(job, metadata=job.metadata.model_copy(update={"export": export})), path)


def _average_precision(path: Path, labelled: LabelledPictures) -> float:
    predictor = Predictor(open_engine(path))
    average = evaluate(predictor, labelled.records, labelled.class_names).metrics.AP
    if average is None:
        raise ConfigError("AP cannot be measured on pictures without objects: give another --data or --split")
    return average


def _load(name: str) -> Callable[..., None]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)

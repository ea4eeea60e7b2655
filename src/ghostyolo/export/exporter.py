"""Turns a checkpoint into a checked file of another format.

It is folded, written, compared with the network and moved into place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ghostyolo.errors import ConfigError, ExportError, OutputError, ParityError
from ghostyolo.export.deployed import DeployedModel, ExportJob, fold_for_device
from ghostyolo.export.formats import ExportFormat, Unfinished, find_format
from ghostyolo.export.options import ExportOptions
from ghostyolo.export.parity import (
    TOLERANCES,
    Image,
    LabelledPictures,
    ParityReport,
    check_parity,
    read_labelled,
)
from ghostyolo.export.quantise.calibration import IMAGES
from ghostyolo.export.quantise.int8_report import SUFFIX as QUANTISATION_SUFFIX
from ghostyolo.export.quantise.int8_report import QuantisationReport
from ghostyolo.export.quantise.quantiser import NO_PICTURES, Quantisation, quantise_network, read_quantisation
from ghostyolo.extras import require
from ghostyolo.files import move_into_place, size_in_megabytes, staged, write_json
from ghostyolo.metadata import ExportInfo, ModelMetadata, Origin, Precision
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.weights import load_checkpoint
from ghostyolo.runtime.engines import find_kind
from ghostyolo.runtime.sources import Sources
from ghostyolo.runtime.weights import resolve_weights
from ghostyolo.thresholds import Selection, settle_limits

REPORT_SUFFIX = ".parity.json"
Network = tuple[DetectionModel, ModelMetadata]


@dataclass(frozen=True)
class ExportResult:
    """What an export left.

    Attributes:
        path: the file or folder.
        megabytes: its size, 10^6 bytes.
        seconds: folding and writing took, comparing left out.
        parity: how far it is from the network; None where that was not asked for.
        report: the comparison as JSON, beside the file.
        rewriting: what was done to the graph, a line a pass; empty where it was written as it is.
        derived_from: published weights that it was made from, whose licences hold for it.
        quantisation: of an INT8 file: size, AP and latency beside the float one; also as JSON, beside the file.
    """

    path: Path
    megabytes: float
    seconds: float
    parity: ParityReport | None
    report: Path | None
    quantisation: QuantisationReport | None = None
    rewriting: tuple[str, ...] = ()
    derived_from: tuple[Origin, ...] = ()


def default_out(weights: str | Path, kind: ExportFormat) -> Path:
    """Return where a file goes when nobody says.

    It goes beside the checkpoint; of built-in weights into the working folder.
    """
    path = Path(weights)
    stem = path.with_suffix("") if path.suffix == ".safetensors" else path
    return stem.with_name(stem.name + kind.suffix)


def export_detector(
    weights: str | Path | Network,
    out: str | Path | None = None,
    format: str = "onnx",
    *,
    images: str | Path | Sequence[Image] | None = None,
    data: str | Path | None = None,
    split: str | None = "val",
    calibration: str | Path | Sequence[Image] | None = None,
    calibration_images: int = IMAGES,
    max_drop: float = 1.0,
    check: bool = True,
    overwrite: bool = False,
    **options: Any,
) -> ExportResult:
    """Write a detector for a device, and compare the file with it.

    All ways to export go through here.

    Args:
        weights: a checkpoint's file or built-in name, or a network with its metadata.
        out: file or folder to write; None: beside the checkpoint, with the format's suffix.
        format: name of the format.
        images: pictures to compare on, a source or arrays (H, W, C) uint8 RGB; None: some of ``split`` of the data,
            without data built-in ones.
        data: data set to compare AP on; with ``precision="int8"`` its train split calibrates.
        split: of the data, to compare AP on; None: the data only calibrate.
        calibration: pictures to calibrate on instead: a folder, or arrays (H, W, C) uint8 RGB.
        calibration_images: so many of them.
        max_drop: points of AP that INT8 may cost.
        check: compare; without it an untrained network can be written to be timed.
        overwrite: replace what stands at ``out``.
        **options: ``imgsz``, ``dynamic``, ``batch``, ``precision``, ``output`` ...: see
            :class:`ghostyolo.export.options.ExportOptions`; ``nms`` may be a mapping of limits, its confidence "auto".

    Raises:
        ConfigError: an unknown format or option, one that the format cannot do, or nothing to calibrate on.
        WeightsError, DataError, SourceError: weights or pictures that cannot be read.
        GhostYoloError: see :func:`export_network`.
    """
    limits = options.pop("nms") if isinstance(options.get("nms"), Mapping) else None
    kind, chosen = find_format(format), ExportOptions.from_options(options)
    if isinstance(weights, tuple):
        model, metadata = weights
        name: str | Path = metadata.model
    else:
        path = resolve_weights(weights, suffixes=(".safetensors",))
        if path.suffix != ".safetensors" and find_kind(path):
            raise ConfigError(f"{path} is exported already: give the .safetensors checkpoint that it was made from")
        name = weights if str(weights) == path.stem else path
        model, metadata = load_checkpoint(path)
    if limits is not None:  # a file has one confidence for all classes
        settled = {**settle_limits(limits, metadata.best_confidence), "class_confidence": None}
        chosen = replace(chosen, nms=Selection.from_dict(settled, "export"))
    chosen.info(kind, metadata)  # before pictures are read
    quantisation = None
    if chosen.precision == "int8":
        quantisation = read_quantisation(
            data,
            calibration,
            chosen.canvas(metadata),
            metadata.in_channels,
            calibration_images,
            max_drop,
            resize=metadata.resize,
            pixel_range=metadata.pixel_range,
        )
    return export_network(
        model,
        metadata,
        default_out(name, kind) if out is None else out,
        kind.name,
        chosen,
        images=_read_pictures(images, metadata.in_channels),
        labelled=None if data is None or split is None else read_labelled(data, split),
        quantisation=quantisation,
        check=check,
        overwrite=overwrite,
    )


def _read_pictures(source: str | Path | Sequence[Image] | None, channels: int) -> Sequence[Image] | None:
    if not isinstance(source, str | Path):
        return source
    return [frame.image for frame in Sources(str(source), max(3, channels))]


def export_network(
    model: DetectionModel,
    metadata: ModelMetadata,
    out: str | Path,
    format: str = "onnx",
    options: ExportOptions | None = None,
    *,
    images: Sequence[Image] | None = None,
    labelled: LabelledPictures | None = None,
    quantisation: Quantisation | None = None,
    check: bool = True,
    overwrite: bool = False,
) -> ExportResult:
    """Write a network for a device and compare what was written with it.

    Args:
        model: branches and all; it is not changed.
        metadata: of the checkpoint; ``deployed``, ``nms``, ``config`` and ``export`` are filled in.
        out: file or folder to write.
        format: name of the format.
        options: size, precision, outputs; default: the format's own.
        images: (H, W, C) uint8 RGB to compare on; None: some of ``labelled``, else built-in ones.
        labelled: pictures with their objects, to compare AP on as well.
        quantisation: what precision int8 calibrates on, and the drop of AP it may have.
        check: compare; without it an untrained network can be written to be timed.
        overwrite: replace what stands at ``out``.

    Raises:
        ConfigError: an option that the format cannot do.
        MissingExtraError: the format's packages are not installed.
        OutputError: ``out`` exists, or cannot be written.
        ExportError: the format cannot take the network.
        ParityError: the file does not give the network's answers, or loses too much AP in INT8; it and the report are
            kept aside.
    """
    kind, options, out = find_format(format), options or ExportOptions(), Path(out)
    info = options.info(kind, metadata)
    if info.precision != "int8":
        quantisation = None
    elif quantisation is None:
        raise ConfigError(NO_PICTURES)
    _check_install(kind, info.precision)
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists: give --overwrite to replace it, or another --out")
    start = time.perf_counter()
    folded = fold_for_device(model)
    job = _job(folded, metadata, info, options, nms=model.needs_nms)
    quantised: QuantisationReport | None = None
    with staged(out) as path:
        try:
            if quantisation is None:
                kind.write_file(job, path)
            else:
                quantised = quantise_network(kind, job, folded, path, quantisation, labelled)
        except Unfinished as error:
            raise _left_beside(error, out, overwrite) from error
        if quantised is not None and quantised.too_far:
            raise _lost_too_much(quantised, path, out)
        seconds = time.perf_counter() - start
        parity = _compare(job, folded, path, images, labelled, quantisation) if check else None
        if parity is not None and parity.failures:
            raise _too_different(parity, path, out)
    report = _write_report(parity, out) if parity is not None else None
    if quantised is not None:
        write_json(out.with_name(out.name + QUANTISATION_SUFFIX), quantised.to_dict())
    rewriting = tuple(done.line() for done in job.reports)
    return ExportResult(
        out, size_in_megabytes(out), seconds, parity, report, quantised, rewriting, tuple(metadata.derived_from)
    )


def _check_install(kind: ExportFormat, precision: Precision) -> None:
    int8 = precision == "int8"
    for extra in kind.needs + (kind.int8_needs if int8 else ()):
        require(extra, f"--format {kind.name}" + (" --precision int8" if int8 else ""))


def _job(
    folded: DetectionModel, metadata: ModelMetadata, info: ExportInfo, options: ExportOptions, nms: bool
) -> ExportJob:
    deployed = DeployedModel(folded, info.output)
    names = ["detections"] if info.output == "nms" else list(deployed.names)
    described = metadata.model_copy(
        update={
            "deployed": True,
            "nms": nms,
            "config": folded.config.model_dump(mode="json"),
            "export": info.model_copy(update={"outputs": names}),
        }
    )
    return ExportJob(deployed, described, options)


def _compare(
    job: ExportJob,
    folded: DetectionModel,
    path: Path,
    images: Sequence[Image] | None,
    labelled: LabelledPictures | None,
    quantisation: Quantisation | None,
) -> ParityReport:
    tolerance = None
    if quantisation is not None:
        # AP is known by now; and 8 bits answer for pictures like those that set their ranges.
        labelled, tolerance = None, replace(TOLERANCES["int8"], ap=quantisation.max_drop)
        images = images if images is not None else quantisation.pictures()
    return check_parity(folded, job.metadata, path, images, labelled, tolerance)


def _too_different(parity: ParityReport, path: Path, out: Path) -> ParityError:
    aside = out.with_name(f"failed-{out.name}")
    move_into_place(path, aside)
    report = _write_report(parity, aside)
    return ParityError(
        f"{aside} differs from its network: {'; '.join(parity.failures)}; nothing was written to {out}, see {report}"
    )


def _left_beside(error: Unfinished, out: Path, overwrite: bool) -> ExportError:
    kept = out.with_name(error.left.name)
    if kept.exists() and not overwrite:
        raise OutputError(f"{kept} exists, where the source of {out.name} would go: give --overwrite") from error
    move_into_place(error.left, kept)
    return ExportError(error.explain(kept))


def _lost_too_much(quantised: QuantisationReport, path: Path, out: Path) -> ParityError:
    aside = out.with_name(f"failed-{out.name}")
    move_into_place(path, aside)
    report = aside.with_name(aside.name + QUANTISATION_SUFFIX)
    write_json(report, quantised.to_dict())
    return ParityError(
        f"{aside} loses {quantised.drop:.2f} points of AP in INT8 (allowed {quantised.max_drop:g}) with "
        f"{len(quantised.kept)} layers in float; nothing was written to {out}, see {report}: fine-tune for INT8 "
        "(ghostyolo train --set qat=true --weights W) and export that, or allow more with --max-drop"
    )


def _write_report(parity: ParityReport, beside: Path) -> Path:
    report = beside.with_name(beside.name + REPORT_SUFFIX)
    write_json(report, parity.to_dict())
    return report

"""From a checkpoint to a checked file: fold, write, compare with the network, move into place."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ghostyolo.errors import ConfigError, ExportError, OutputError, ParityError
from ghostyolo.export.deployed import DeployedModel, ExportJob, fold_for_device
from ghostyolo.export.formats import ExportFormat, find_format
from ghostyolo.export.options import ExportOptions
from ghostyolo.export.parity import TOLERANCES, Image, LabelledPictures, ParityReport, check_parity
from ghostyolo.export.quantise.report import SUFFIX as QUANTISATION_SUFFIX
from ghostyolo.export.quantise.report import QuantisationReport
from ghostyolo.export.quantise.run import NO_PICTURES, Quantisation, quantise_network
from ghostyolo.export.unfinished import Unfinished
from ghostyolo.extras import require
from ghostyolo.files import move_into_place, size_in_megabytes, staged, write_json
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.detector import DetectionModel

REPORT_SUFFIX = ".parity.json"


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
        quantisation: of an INT8 file: size, AP and latency beside the float one; also as JSON, beside the file.
    """

    path: Path
    megabytes: float
    seconds: float
    parity: ParityReport | None
    report: Path | None
    quantisation: QuantisationReport | None = None
    rewriting: tuple[str, ...] = ()


def default_out(weights: str | Path, kind: ExportFormat) -> Path:
    """Where a file goes when nobody says: beside the checkpoint; for built-in weights the working folder."""
    path = Path(weights)
    stem = path.with_suffix("") if path.suffix == ".safetensors" else path
    return stem.with_name(stem.name + kind.suffix)


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
        images: (H, W, C) uint8 RGB to compare on; None: built-in ones.
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
    int8 = info.precision == "int8"
    for extra in kind.needs + (kind.int8_needs if int8 else ()):
        require(extra, f"--format {kind.name}" + (" --precision int8" if int8 else ""))
    if int8 and quantisation is None:
        raise ConfigError(NO_PICTURES)
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists: give --overwrite to replace it, or another --out")
    start = time.perf_counter()
    folded = fold_for_device(model)
    deployed = DeployedModel(folded, info.output)
    names = ["detections"] if info.output == "nms" else list(deployed.names)
    metadata = metadata.model_copy(
        update={
            "deployed": True,
            "nms": model.needs_nms,
            "config": model.config.model_dump(mode="json"),
            "export": info.model_copy(update={"outputs": names}),
        }
    )
    job = ExportJob(deployed, metadata, options)
    with staged(out) as path:
        quantised, tolerance = None, None
        try:
            if quantisation is not None and int8:
                quantised = quantise_network(
                    kind, job, folded, path, quantisation, labelled, lambda job, path: write_format(kind, job, path)
                )
            else:
                write_format(kind, job, path)
        except Unfinished as error:
            raise _left_beside(error, out, overwrite) from error
        if quantised is not None and quantisation is not None:
            if quantised.too_far:
                raise _lost_too_much(quantised, path, out)
            # AP is known by now; and 8 bits answer for pictures like those that set their ranges.
            labelled, tolerance = None, replace(TOLERANCES["int8"], ap=quantisation.max_drop)
            images = images if images is not None else quantisation.pictures()
        seconds = time.perf_counter() - start
        parity = check_parity(folded, metadata, path, images, labelled, tolerance) if check else None
        if parity is not None and parity.failures:
            aside = out.with_name(f"failed-{out.name}")
            move_into_place(path, aside)
            report: Path | None = _write_report(parity, aside)
            raise ParityError(
                f"{aside} differs from its network: {'; '.join(parity.failures)}; nothing was written to {out}, "
                f"see {report}"
            )
    report = _write_report(parity, out) if parity is not None else None
    if quantised is not None:
        write_json(out.with_name(out.name + QUANTISATION_SUFFIX), quantised.to_dict())
    rewriting = tuple(one.line() for one in job.reports)
    return ExportResult(out, size_in_megabytes(out), seconds, parity, report, quantised, rewriting)


def write_format(kind: ExportFormat, job: ExportJob, path: Path) -> None:
    """Run a format's writer."""
    module, _, name = kind.writer.partition(":")
    getattr(importlib.import_module(module), name)(job, path)
    if not path.exists():
        raise ExportError(f"{kind.name}: its writer left no {path.name}")


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

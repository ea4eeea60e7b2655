"""Every format that can run here, on the built-in detectors: size, latency, largest box difference, AP, time to export.

Exports each built-in checkpoint in each format and precision at its own fixed size, compares it with the network on
its data set's val split, then runs the files of one detector in turns on one thread. The table goes between the marks
of docs/export.md. What is not installed, or cannot be written here, is left out and named.

    python benchmarks/formats.py [--models bccd neu-det] [--formats onnx ncnn] [--precisions fp32 int8]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ghostyolo.benchmark.candidates import Candidate
from ghostyolo.benchmark.compare import Settings, measure
from ghostyolo.data.formats import load_dataset
from ghostyolo.errors import GhostYoloError
from ghostyolo.export.exporter import default_out, export_network
from ghostyolo.export.formats import ExportFormat, export_formats
from ghostyolo.export.options import ExportOptions
from ghostyolo.export.parity import LabelledPictures
from ghostyolo.export.quantise.quantiser import read_quantisation
from ghostyolo.models.weights import load_checkpoint
from ghostyolo.runtime.weights import resolve_weights
from report import REPOSITORY, RESULTS, data_root, markdown, read_rows, replace_row, write_between, write_results

PAGE = REPOSITORY / "docs" / "export.md"
COLUMNS = {
    "model": "", "format": "", "precision": "", "MB": ".2f", "latency": ".2f", "boxes, px": ".2g", "detections": "",
    "AP": ".3f", "float layers": "", "export, s": ".0f",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["bccd", "neu-det"])
    parser.add_argument("--formats", nargs="+", default=[kind.name for kind in export_formats()])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16", "int8"])
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--results", type=Path, default=RESULTS / "formats.json")
    arguments = parser.parse_args()
    rows = read_rows(arguments.results)
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure_model(model, arguments, Path(folder)):
                rows = replace_row(rows, row, ("model", "format", "precision"))
    order = [kind.name for kind in export_formats()]
    rows.sort(key=lambda row: (row["model"], order.index(row["format"]), row["precision"]))
    write_results(
        arguments.results, rows, "onnxruntime", "openvino", "nncf", "MNN", "ncnn", "executorch", "ai-edge-litert",
        "torch", threads=1, runs=arguments.runs,
    )  # fmt: skip
    table = markdown(rows, COLUMNS)
    print(table)
    write_between(PAGE, "formats", table)


def measure_model(model: str, arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """One row a file that could be written, the time of fp32 ONNX being 1."""
    checkpoint = resolve_weights(model, suffixes=(".safetensors",))
    rows, candidates = [], []
    for kind in export_formats():
        for precision in kind.written_as:
            wanted = kind.name in arguments.formats and precision in arguments.precisions
            reference = (kind.name, precision) == ("onnx", "fp32")
            if not (wanted or reference):
                continue
            out = folder / f"{kind.name}-{precision}" / default_out(model, kind)
            try:
                row = export_one(checkpoint, kind, precision, out, data_root() / model)
            except GhostYoloError as error:
                print(f"left out: {model} as {kind.name} {precision}: {error}")
                continue
            rows.append({"model": model, **row})
            candidates.append(Candidate(f"{kind.name} {precision}", "file", str(out), kind.engine))
    measured = measure(candidates, Settings(threads=1, runs=arguments.runs), reference="onnx fp32")
    for row, found in zip(rows, measured, strict=True):
        row.update({"latency": found.ratio, "median_ms": found.median_ms, "memory_mb": found.memory_mb})
    return rows


def export_one(checkpoint: Path, kind: ExportFormat, precision: Any, out: Path, data: Path) -> dict[str, Any]:
    network, metadata = load_checkpoint(checkpoint)
    dataset = load_dataset(data, splits=["val"])
    options = ExportOptions(dynamic=False, precision=precision)
    result = export_network(
        network,
        metadata,
        out,
        kind.name,
        options,
        labelled=LabelledPictures(dataset.splits["val"], dataset.class_names),
        quantisation=read_quantisation(data, None, options.canvas(metadata)) if precision == "int8" else None,
    )
    parity, quantised = result.parity, result.quantisation
    assert parity is not None
    return {
        "format": kind.name,
        "precision": precision,
        "MB": result.megabytes,
        "boxes, px": parity.confident_pixels,
        "detections": f"{parity.matched} / {parity.detections}",
        "AP": parity.ap_file if quantised is None else quantised.ap,
        "float layers": None if quantised is None else f"{len(quantised.kept)} / {quantised.layers}",
        "export, s": result.seconds,
    }


if __name__ == "__main__":
    main()

"""What rewriting brings in each format that can run here: the file with and without it, run in turns on one thread.

    python benchmarks/studies/rewrite_formats.py [--models yolov13n-ghostnetv3 ghostyolo-n] [--formats ncnn mnn]
        [--imgsz 320]

Untrained networks of 80 classes, fp32; each file runs in a process of its own, round after round, and the figure is
the median over the rounds of the rewritten file's time to the other's. Writes ``results/rewrite_formats.json`` and the
table of docs/design/rewrite.md. What is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from ghostyolo.benchmark.candidates import Candidate
from ghostyolo.benchmark.compare import Settings, measure
from ghostyolo.errors import GhostYoloError
from ghostyolo.export.exporter import default_out, export_network
from ghostyolo.export.formats import ExportFormat, export_formats
from ghostyolo.export.options import ExportOptions
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.detector import build_model

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where report.py and latency.py are
from report import REPOSITORY, RESULTS, Row, markdown, read_rows, replace_row, write_between, write_results

PAGE = REPOSITORY / "docs" / "design" / "rewrite.md"
CLASSES = 80
COLUMNS = {"model": "", "format": "", "rewritten to as it is": ".2f", "as it is, ms": ".1f"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["yolov13n-ghostnetv3", "ghostyolo-n"])
    parser.add_argument("--formats", nargs="+", default=[kind.name for kind in export_formats()])
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--results", type=Path, default=RESULTS / "rewrite_formats.json")
    arguments = parser.parse_args()
    rows = read_rows(arguments.results)
    for model in arguments.models:
        for kind in export_formats():
            if kind.name not in arguments.formats:
                continue
            try:
                row = compare(model, kind, arguments)
            except GhostYoloError as error:
                print(f"left out: {model} as {kind.name}: {error}")
                continue
            print(row, flush=True)
            rows = replace_row(rows, row, ("model", "format"))
            write_results(
                arguments.results, rows, "torch", "onnxruntime", "openvino", "MNN", "ncnn", "executorch",
                "ai-edge-litert", imgsz=arguments.imgsz, threads=1, precision="fp32",
            )  # fmt: skip
    write_between(PAGE, "formats", markdown(rows, COLUMNS))


def compare(model: str, kind: ExportFormat, arguments: argparse.Namespace) -> Row:
    torch.manual_seed(0)
    network = build_model(model, num_classes=CLASSES).eval()
    metadata = ModelMetadata(
        model=model,
        class_names=[str(number) for number in range(CLASSES)],
        imgsz=arguments.imgsz,
        stride=network.stride,
        in_channels=3,
    )
    with tempfile.TemporaryDirectory() as folder:
        candidates = []
        for rewrite in (False, True):
            out = Path(folder) / str(rewrite) / default_out(model, kind)
            options = ExportOptions(dynamic=False, imgsz=arguments.imgsz, rewrite=rewrite)
            export_network(network, metadata, out, kind.name, options, check=False)
            candidates.append(Candidate(f"rewrite {rewrite}", "file", str(out), kind.engine, arguments.imgsz))
        before, after = measure(candidates, Settings(threads=1, runs=arguments.runs), reference="rewrite False")
    return {
        "model": model,
        "format": kind.name,
        "rewritten to as it is": after.ratio,
        "as it is, ms": before.median_ms,
    }


if __name__ == "__main__":
    main()

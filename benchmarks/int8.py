"""What 8 bits cost and bring: ``ghostyolo export --precision int8`` of the built-in detectors, beside the float files.

    python benchmarks/int8.py
    python benchmarks/int8.py --weights bccd=runs/qat/best.safetensors   # after fine-tuning with train --set qat=true

Size, AP on the data set's val split and latency (median of 30 calls in turns, one thread) are those that the export
measures and writes beside the file. "weights" is the size without the description of the network, which OpenVINO keeps
in a text file of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from report import RESULTS, Row, data_root, markdown, write_results

FORMATS = {"onnx": ".onnx", "openvino": "_openvino"}
COLUMNS = {
    "weights": "", "format": "", "fp32_mb": ".2f", "int8_mb": ".2f", "size_ratio": ".3f", "bin_ratio": ".3f",
    "fp32_AP": ".2f", "int8_AP": ".2f", "fp32_ms": ".1f", "int8_ms": ".1f", "latency_ratio": ".2f", "kept": "d",
}  # fmt: skip


def quantise(weights: str, data: Path, format: str, scratch: Path) -> Row:
    """Export one file; a drop of AP that is too large stops the script, as it stops the command."""
    out = scratch / f"{data.name}{FORMATS[format]}"
    command = ["export", "--weights", weights, "--format", format, "--precision", "int8", "--data", str(data)]
    subprocess.run([sys.executable, "-m", "ghostyolo.cli.main", *command, "--out", str(out), "--overwrite"], check=True)
    report = json.loads(out.with_name(f"{out.name}.int8.json").read_text(encoding="utf-8"))
    binary = out / "model.bin"
    return {
        "weights": weights,
        "data": data.name,
        "format": format,
        "fp32_mb": report["megabytes_float"],
        "int8_mb": report["megabytes"],
        "size_ratio": report["size_ratio"],
        "bin_ratio": binary.stat().st_size / 1e6 / report["megabytes_float"] if binary.is_file() else None,
        "fp32_AP": 100 * report["ap_float"],
        "int8_AP": 100 * report["ap"],
        "fp32_ms": report["ms_float"],
        "int8_ms": report["ms"],
        "latency_ratio": report["latency_ratio"],
        "kept": len(report["kept"]),
        "trials": report["trials"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", nargs="+", default=["bccd", "neu-det"], help="DATA or DATA=CHECKPOINT")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--data-root", type=Path, default=data_root())
    parser.add_argument("--results", type=Path, default=RESULTS / "int8.json")
    args = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for given in args.weights:
            name, _, checkpoint = given.partition("=")
            for format in args.formats:
                rows.append(quantise(checkpoint or name, args.data_root / name, format, Path(folder)))
                write_results(args.results, rows, "onnxruntime", "openvino", "nncf")
    print(markdown(rows, COLUMNS))


if __name__ == "__main__":
    main()

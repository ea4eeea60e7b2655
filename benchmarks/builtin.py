"""How good the weights inside the package are: ``ghostyolo val`` on the ONNX files, and how large each file is.

    python benchmarks/builtin.py

bccd and neu-det are scored on their val splits, digits on scenes that are generated here from handwriting and parts of
photographs that training never saw, with another seed than make_builtin.py takes. Needs no torch for bccd and neu-det,
the "scenes" extra for digits.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from ghostyolo.runtime.predictor import load
from ghostyolo.runtime.weights import assets_folder
from report import RESULTS, Row, data_root, markdown, write_results

DIGITS_SEED, SCENES_SIDE = 1000, 320
COLUMNS = {
    "weights": "", "model": "", "data": "", "images": "d", "imgsz": "d", "AP": ".3f", "AP50": ".3f",
    "onnx_mb": ".2f", "safetensors_mb": ".2f",
}  # fmt: skip


def score(name: str, data: Path, what: str, scratch: Path) -> Row:
    """Score the ONNX file of built-in weights on the val split of a data set."""
    path = assets_folder() / f"{name}.onnx"
    metrics_path = scratch / f"{name}.json"
    command = ["val", "--weights", str(path), "--data", str(data), "--split", "val"]
    subprocess.run([sys.executable, "-m", "ghostyolo.cli.main", *command, "--json", str(metrics_path)], check=True)
    metrics = json.loads(metrics_path.read_text(encoding="utf-8"))
    metadata = load(path).metadata
    return {
        "weights": name,
        "model": metadata.model,
        "data": what,
        "images": _images(data),
        "imgsz": metadata.imgsz,
        **{key: metrics[key] for key in ("AP", "AP50", "AP75", "AR100")},
        "per_class": metrics["per_class"],
        "onnx_mb": _megabytes(path),
        "safetensors_mb": _megabytes(path.with_suffix(".safetensors")),
    }


def _images(data: Path) -> int:
    from ghostyolo.data.formats import load_dataset

    return len(load_dataset(data, splits=["val"]).splits["val"])


def _megabytes(path: Path) -> float | None:
    return round(path.stat().st_size / 1e6, 3) if path.is_file() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--names", nargs="+", default=["digits", "bccd", "neu-det"])
    parser.add_argument("--scenes", type=int, default=500, help="digit scenes to score on")
    parser.add_argument("--data-root", type=Path, default=data_root())
    parser.add_argument("--results", type=Path, default=RESULTS / "builtin.json")
    args = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name in args.names:
            data, what = args.data_root / name, f"{name}, val"
            if name == "digits":
                from ghostyolo.data.scenes import generate_scenes

                data, what = scratch / "scenes", f"{args.scenes} generated scenes, seed {DIGITS_SEED}, val"
                generate_scenes(data, of="digits", train=0, val=args.scenes, imgsz=SCENES_SIDE, seed=DIGITS_SEED)
            rows.append(score(name, data, what, scratch))
    write_results(args.results, rows, "onnxruntime")
    print(markdown(rows, COLUMNS))


if __name__ == "__main__":
    main()

"""Five YOLOs on BCCD at 320 px, each with its own backbone and with GhostNetV3, at one short budget from scratch.

    python benchmarks/zoo_accuracy.py
    python benchmarks/zoo_accuracy.py --models yolov8n yolov8n-ghostnetv3 --seeds 0 1 2

Parameters and FLOPs of the folded network at 320 px and BCCD's classes; AP of the best weights on the val split; peak
memory of the training process; latency of the folded network in ONNX Runtime, one thread, batch 1, 320 px, as the
median ratio to YOLOv13-N's in the same round. A finished cell is kept, an interrupted one goes on. A short budget ranks
how fast a network learns, not how good it becomes: see accuracy.py for the long one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import yaml

from latency import median_ratio, noise, open_file, take_turns, write_onnx
from processes import run_measured
from report import RESULTS, Row, data_root, markdown, read_rows, replace_row, write_results

RECIPE = Path(__file__).resolve().parent / "recipes" / "bccd_short.yaml"
PAIRS = ("yolov5n", "yolov7-tiny", "yolov8n", "yolox-tiny", "yolov13n")
GHOSTS = {"yolov7-tiny": "yolov7s-ghostnetv3", "yolox-tiny": "yolox-n-ghostnetv3"}
MODELS = [name for own in PAIRS for name in (own, GHOSTS.get(own, f"{own}-ghostnetv3"))]
REFERENCE = "yolov13n"
KEYS = ("model", "seed", "epochs", "branches")
COLUMNS = {
    "model": "", "params_deployed_m": ".2f", "flops_g": ".2f", "latency_ratio": ".2f", "training_mb": ".0f",
    "minutes": ".1f", "AP": ".3f", "AP50": ".3f", "seed": "d",
}  # fmt: skip


def train(model: str, seed: int, args: argparse.Namespace) -> Row:
    """Train a cell, or take a finished one, and read its scores."""
    folder = args.runs / f"{model}-seed{seed}"
    measured = folder / "measured.json"
    if not measured.is_file():
        resume = ["--resume"] if (folder / "run" / "config.yaml").is_file() else []
        branches = ["--set", f"branches={args.branches}"] if model.endswith("-ghostnetv3") else []
        folder.mkdir(parents=True, exist_ok=True)
        peak = run_measured(
            [sys.executable, "-m", "ghostyolo.cli.main", "train", "--data", str(args.data), "--model", model, *branches,
             "--set", "plan=false",
             "--weights", "none",
             "--recipe", str(RECIPE), "--seed", str(seed), "--device", "cpu", "--threads", str(args.threads),
             "--set", "plots=false", "--out", str(folder / "run"), *resume],
            folder / "log.txt",
            args.threads,
        )  # fmt: skip
        measured.write_text(json.dumps({"training_mb": round(peak)}))
    results = json.loads((folder / "run" / "results.json").read_text())
    return {
        "model": model,
        "seed": seed,
        "epochs": results["epochs"],
        "branches": args.branches if model.endswith("-ghostnetv3") else None,
        "AP": results["metrics"]["AP"],
        "AP50": results["metrics"]["AP50"],
        "minutes": round(results["training_seconds"] / 60, 2),
        **json.loads(measured.read_text()),
    }


def measure(models: list[str], num_classes: int, imgsz: int, rounds: int) -> dict[str, Row]:
    """Counts and latency ratio of each network, untrained: weights do not change the time."""
    from ghostyolo.models import build_model
    from ghostyolo.models.costs import describe_model
    from ghostyolo.nn.reparam import fold

    names = list(dict.fromkeys([REFERENCE, *models]))
    with tempfile.TemporaryDirectory() as folder:
        calls = {}
        for name in names:
            network = fold(build_model(name, num_classes=num_classes))
            calls[name] = open_file(
                "onnxruntime", write_onnx(network, Path(folder) / f"{name}.onnx", imgsz), noise(imgsz)
            )
        times = take_turns(calls, rounds)
    counts = {name: describe_model(name, imgsz, num_classes) for name in models}
    return {
        name: {
            **{key: counts[name][key] for key in ("params_deployed_m", "flops_g")},
            "latency_ms": round(statistics.median(times[name]), 2),
            "latency_ratio": round(median_ratio(times, name, REFERENCE), 3),
        }
        for name in models
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--branches", type=int, default=1, help="of the GhostNetV3 backbones while training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40, help="of the latency measurement")
    parser.add_argument("--data", type=Path, default=data_root() / "bccd")
    parser.add_argument("--runs", type=Path, default=Path("runs/zoo-accuracy"))
    parser.add_argument("--results", type=Path, default=RESULTS / "zoo_accuracy.json")
    args = parser.parse_args()

    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    rows = read_rows(args.results)
    for seed in args.seeds:
        for model in args.models:
            rows = replace_row(rows, train(model, seed, args), KEYS)
            write_results(args.results, rows, "torch", "lightning", "onnxruntime", recipe=recipe)
            print(rows[-1], flush=True)
    counts = measure(list(dict.fromkeys(row["model"] for row in rows)), 3, recipe["imgsz"], args.rounds)
    rows = [{**row, **counts[row["model"]]} for row in rows]
    write_results(args.results, rows, "torch", "lightning", "onnxruntime", recipe=recipe)
    print(markdown(rows, COLUMNS))


if __name__ == "__main__":
    main()

"""What start weights bring: trainings from zero and from the start beside each other, on several data sets.

    python benchmarks/start.py --model ghostyolo-n
    python benchmarks/start.py --sets kangaroo chess --epochs 15 --start runs/mine/last.safetensors

A cell is one network, data set, start and seed, all trained by recipes/start_short.yaml. Finished cells are kept, an
interrupted one goes on after its last epoch. Writes results/start.json and prints its table. Sets lie in --data-root or
its folder ``targets``.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

from report import RESULTS, Row, data_root, markdown, read_rows, replace_row, write_results

RECIPE = Path(__file__).resolve().parent / "recipes" / "start_short.yaml"
SETS = ("bccd", "neu-det", "chess", "traffic-lights", "kangaroo", "plates")
KEYS = ("model", "data", "start", "seed", "epochs", "imgsz")
COLUMNS = {"model": "", "data": "", "imgsz": "d", "epochs": "d", "seed": "d", "start": "", "AP": ".3f", "AP50": ".3f",
           "level_after": ""}  # fmt: skip


def train(model: str, data: Path, weights: str, folder: Path, seed: int, epochs: int, imgsz: int, threads: int) -> None:
    """Train a cell, or go on with it, or do nothing where it is finished."""
    if (folder / "results.json").is_file():
        return
    resume = ["--resume"] if (folder / "config.yaml").is_file() else []
    options = ["--data", data, "--model", model, "--weights", weights, "--set", "plan=false", "--set", "branches=1"]
    options += ["--recipe", RECIPE, "--epochs", epochs, "--imgsz", imgsz, "--seed", seed, "--threads", threads]
    options += ["--out", folder, *resume]
    subprocess.run([sys.executable, "-m", "ghostyolo.cli.main", "train", *map(str, options)], check=True)


def curve(folder: Path) -> list[tuple[int, float]]:
    """Epoch and AP of each validation."""
    with (folder / "metrics.csv").open() as file:
        return [(int(row["epoch"]), float(row["val/AP"])) for row in csv.DictReader(file) if row.get("val/AP")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["ghostyolo-n"])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--start", default="start", help="the network's start weights, or a file; 'none' for zero alone"
    )
    parser.add_argument("--data-root", type=Path, default=data_root())
    parser.add_argument("--runs", type=Path, default=Path("runs/start-trials"))
    parser.add_argument("--results", type=Path, default=RESULTS / "start.json")
    args = parser.parse_args()

    for model in args.model:
        for name in args.sets:
            data = args.data_root / name if (args.data_root / name).is_dir() else args.data_root / "targets" / name
            for seed in args.seeds:
                at_zero: float | None = None
                for weights in dict.fromkeys(("none", args.start)):
                    label = (
                        "zero" if weights == "none" else "start" if weights == "start" else Path(weights).parent.name
                    )
                    folder = args.runs / f"{model}-{name}-{label}-{args.imgsz}px-{args.epochs}-seed{seed}"
                    train(model, data, weights, folder, seed, args.epochs, args.imgsz, args.threads)
                    result = json.loads((folder / "results.json").read_text())
                    points = curve(folder)
                    level = next((epoch for epoch, ap in points if at_zero is not None and ap >= at_zero), None)
                    row: Row = {
                        "model": model, "data": name, "start": label, "seed": seed, "epochs": args.epochs,
                        "imgsz": args.imgsz, "AP": result["metrics"]["AP"], "AP50": result["metrics"]["AP50"],
                        "level_after": level, "curve": points,
                    }  # fmt: skip
                    at_zero = max(ap for _, ap in points) if weights == "none" else at_zero
                    write_results(args.results, replace_row(read_rows(args.results), row, KEYS), "torch")
    print(markdown(read_rows(args.results), COLUMNS))


if __name__ == "__main__":
    main()

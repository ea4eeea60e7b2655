"""What the defaults of training are worth on a small data set: short trainings with and without them.

    python benchmarks/small_sets.py --data bccd --seeds 0 1 2

Each way of training is a few keys of the recipe over the same short run; "defaults" gives none. Cells are kept.
Scores are the AP of the best epoch on the val split, which flatters all ways alike.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from report import RESULTS, data_root, markdown, read_rows, replace_row, write_results

FIXED = {"nominal_batch": 64, "ema_ramp": 2000.0, "close_mosaic": 10}
WAYS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "counted in pictures": FIXED,
    "a step each batch": {**FIXED, "nominal_batch": 16},
    "and a shorter average": {"nominal_batch": 16, "close_mosaic": 10},
    "and mosaic but for 3 epochs": {"nominal_batch": 16, "close_mosaic": 3},
}
KEYS = ("model", "data", "branches", "imgsz", "epochs", "way", "seed")
COLUMNS = {**dict.fromkeys(KEYS, ""), "AP": ".3f", "AP50": ".3f", "minutes": ".0f"}


def train(args: argparse.Namespace, data: str, way: str, seed: int) -> dict[str, Any]:
    """The row of one cell, trained if it is not there."""
    folder = args.runs / f"{data}-{way.replace(' ', '-')}-{seed}"
    recipe = {"epochs": args.epochs, "imgsz": args.imgsz, "val_every": 3, "plots": False, "tensorboard": False}
    if not (folder / "results.json").is_file():
        args.runs.mkdir(parents=True, exist_ok=True)
        file = folder.with_suffix(".yaml")
        file.write_text(yaml.safe_dump({"plan": False, **recipe, "threads": 1, **WAYS[way]}), encoding="utf-8")
        command = ["train", "--data", args.data_root / data, "--model", args.model, "--branches", args.branches]
        command += ["--recipe", file, "--seed", seed, "--out", folder]
        command += ["--resume"] if (folder / "config.yaml").is_file() else []
        subprocess.run([sys.executable, "-m", "ghostyolo.cli.main", *map(str, command)], check=True)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {
        "model": args.model,
        "data": data,
        "branches": args.branches,
        "imgsz": args.imgsz,
        "epochs": args.epochs,
        "way": way,
        "seed": seed,
        "AP": round(results["metrics"]["AP"], 4),
        "AP50": round(results["metrics"]["AP50"], 4),
        "minutes": round(results["training_seconds"] / 60, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ghostyolo-p")
    parser.add_argument("--data", nargs="+", default=["bccd"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--branches", type=int, default=1)
    parser.add_argument("--imgsz", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--data-root", type=Path, default=data_root())
    parser.add_argument("--runs", type=Path, default=Path("runs/small_sets"))
    parser.add_argument("--results", type=Path, default=RESULTS / "small_sets.json")
    args = parser.parse_args()

    rows = read_rows(args.results)
    for seed in args.seeds:
        for data in args.data:
            for way in args.ways:
                rows = replace_row(rows, train(args, data, way, seed), KEYS)
                write_results(args.results, rows, "torch")
    print(markdown(rows, COLUMNS))


if __name__ == "__main__":
    main()

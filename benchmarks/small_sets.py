"""What the defaults of training are worth on a small data set: short trainings with and without them.

    python benchmarks/small_sets.py --data bccd --seeds 0 1 2

    python benchmarks/small_sets.py --data neu-det --pictures 360 --epochs 10 --ways defaults "counted in pictures"

Each way of training is a few keys of the recipe over the same short run; "defaults" gives none. Cells are kept. With
--pictures the train split of a data set in YOLO layout is thinned out, evenly.
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

from ghostyolo.data.formats import load_dataset
from report import RESULTS, data_root, markdown, read_rows, replace_row, write_results

FIXED = {"nominal_batch": 64, "ema_ramp": 2000.0, "close_mosaic": 10}
WAYS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "counted in pictures": FIXED,
    "a step each batch": {**FIXED, "nominal_batch": 16},
    "and a shorter average": {"nominal_batch": 16, "close_mosaic": 10},
    "and mosaic but for 3 epochs": {"nominal_batch": 16, "close_mosaic": 3},
    "a warm-up of one epoch": {"warmup_epochs": 1.0},
}
KEYS = ("model", "data", "pictures", "branches", "imgsz", "epochs", "way", "seed")
COLUMNS = {**dict.fromkeys(KEYS, ""), "AP": ".3f", "AP50": ".3f", "minutes": ".0f"}


def thinned(root: Path, folder: Path, count: int) -> Path:
    """A data.yaml beside the run with ``count`` of the training pictures, evenly spread, and all of val."""
    data = load_dataset(root, splits=["train", "val"])
    lists = {}
    for split, records in data.splits.items():
        chosen = records if split == "val" else [records[i * len(records) // count] for i in range(count)]
        lists[split] = str(folder.with_name(f"{folder.name}-{split}.txt"))
        Path(lists[split]).write_text("".join(f"{record.path}\n" for record in chosen), encoding="utf-8")
    file = folder.with_name(f"{folder.name}-data.yaml")
    file.write_text(yaml.safe_dump({**lists, "names": data.class_names}), encoding="utf-8")
    return file


def train(args: argparse.Namespace, data: str, way: str, seed: int) -> dict[str, Any]:
    """The row of one cell, trained if it is not there."""
    pictures = len(load_dataset(args.data_root / data, splits=["train"]).splits["train"])
    pictures = min(args.pictures or pictures, pictures)
    folder = args.runs / f"{data}-{pictures}-{args.imgsz}px-{args.epochs}-{way.replace(' ', '-')}-{seed}"
    recipe = {"epochs": args.epochs, "imgsz": args.imgsz, "val_every": 3, "plots": False, "tensorboard": False}
    recipe |= {"threads": 1, "branches": args.branches}
    if not (folder / "results.json").is_file():
        args.runs.mkdir(parents=True, exist_ok=True)
        file = folder.with_suffix(".yaml")
        file.write_text(yaml.safe_dump({"plan": False, **recipe, **WAYS[way]}), encoding="utf-8")
        place = args.data_root / data if args.pictures is None else thinned(args.data_root / data, folder, pictures)
        command = ["train", "--data", place, "--model", args.model]
        command += ["--weights", "none", "--recipe", file, "--seed", seed, "--out", folder]
        command += ["--resume"] if (folder / "config.yaml").is_file() else []
        subprocess.run([sys.executable, "-m", "ghostyolo.cli.main", *map(str, command)], check=True)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {
        "model": args.model,
        "data": data,
        "pictures": pictures,
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
    parser.add_argument("--pictures", type=int, help="train on so many; default: all")
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

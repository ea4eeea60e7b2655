"""Accuracy from scratch: train named models on BCCD and NEU-DET with ``ghostyolo train``, score with ``ghostyolo val``.

    python benchmarks/accuracy.py --models yolov13n-ghostnetv3 yolov13n --seeds 0 1 2
    python benchmarks/accuracy.py --score runs/bccd runs/neu-det

A cell is one model, data set, number of branches and seed. Finished cells are kept, an interrupted one goes on after
its last epoch, so the same command may be given again and again; one that was trained otherwise (another rate, say)
is an error. ``--score`` adds runs that were trained by hand.
Scores are of best.safetensors on the val split; the best epoch was chosen on that split too, as is usual, so they
flatter a little, all models alike. Recipes: benchmarks/recipes/NAME.yaml. Options after ``--`` go to ``ghostyolo
train``: ``-- --threads 1 --device cuda``. Small networks leave most of a GPU idle: ``--jobs 12`` trains twelve
cells at a time (11 to 16 ran well on an H200 with 16 cores).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from processes import side_by_side
from report import RESULTS, Row, data_root, markdown, read_rows, replace_row, write_results

RECIPES = Path(__file__).resolve().parent / "recipes"
# Ways of training a model; rows of different ones are kept beside each other.
WAYS = ("branches", "lr", "close_mosaic", "scale")
KEYS = ("model", "data", "imgsz", "epochs", "seed", *WAYS)
COLUMNS = {
    "model": "", "data": "", "imgsz": "d", "epochs": "d", "seed": "d", "branches": "", "lr": ".4f",
    "close_mosaic": "d", "scale": "", "AP": ".3f", "AP50": ".3f", "minutes": ".0f",
}  # fmt: skip


def ghostyolo(*arguments: object) -> None:
    """Run our own command; what it prints is shown, and its failure ends this script."""
    subprocess.run([sys.executable, "-m", "ghostyolo.cli.main", *map(str, arguments)], check=True)


def train(
    model: str,
    data: str,
    branches: int | None,
    seed: int,
    runs: Path,
    root: Path,
    more: list[str],
    recipe: str | None = None,
) -> Path:
    """Train a cell, or go on with it; return its folder.

    A finished one is gone on with too: nothing is left to do, but another recipe, model or data set is an error.

    Args:
        model: a name, or a YAML file.
        recipe: in ``recipes``; default: the data set's own.
    """
    folder = runs / f"{data}-{Path(model).stem}-{'default' if branches is None else branches}-seed{seed}"
    resume = ["--resume"] if (folder / "config.yaml").is_file() else []
    count = ["--set", f"branches={branches}"] if branches is not None else []
    ghostyolo(
        *("train", "--data", root / data, "--model", model, "--recipe", RECIPES / f"{recipe or data}.yaml"),
        *("--set", "plan=false"),
        *("--weights", "none", "--seed", seed, "--out", folder, *count, *resume, *more),
    )
    return folder


def score(folder: Path, root: Path) -> Row:
    """The row of a finished run, scored by ``ghostyolo val`` at the size it was trained at."""
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    run, recipe = config["run"], config["recipe"]
    data = root / Path(run["data"]).name
    ghostyolo(
        *("val", "--weights", folder / "best.safetensors", "--data", data, "--imgsz", recipe["imgsz"]),
        *("--json", folder / "val.json"),
    )
    metrics = json.loads((folder / "val.json").read_text(encoding="utf-8"))
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    params: dict[str, Any] = run["network"]["backbone"]["params"]
    return {
        "model": run["model"],
        "data": data.name,
        "imgsz": recipe["imgsz"],
        "epochs": recipe["epochs"],
        "seed": recipe["seed"],
        "branches": params.get("branches"),
        "lr": recipe["lr"],
        "close_mosaic": recipe["close_mosaic"],
        "scale": recipe["augment"]["scale"],
        "AP": round(metrics["AP"], 4),
        "AP50": round(metrics["AP50"], 4),
        "minutes": round(results["training_seconds"] / 60, 1),
        "best_epoch": results["best_epoch"],
        "recipe": recipe,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["yolov13n-ghostnetv3"])
    parser.add_argument("--data", nargs="+", default=["bccd", "neu-det"], choices=["bccd", "neu-det"])
    parser.add_argument("--branches", nargs="+", type=int, default=[None], help="default: the model's own")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--score", nargs="+", type=Path, metavar="RUN", help="only score these finished runs")
    parser.add_argument("--jobs", type=int, default=1, help="cells that train at the same time")
    parser.add_argument("--data-root", type=Path, default=data_root())
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--results", type=Path, default=RESULTS / "accuracy.json")
    parser.add_argument("more", nargs="*", help="after --: options for ghostyolo train")
    args = parser.parse_args()

    cells = [
        (model, data, branches, seed)
        for seed in args.seeds
        for data in args.data
        for model in args.models
        for branches in args.branches
    ]
    folders = args.score or side_by_side(
        lambda cell: train(*cell, args.runs, args.data_root, args.more), cells, args.jobs
    )
    rows = read_rows(args.results)
    for folder in folders:
        rows = replace_row(rows, score(folder, args.data_root), KEYS)
        write_results(args.results, rows, "torch", "lightning")
    print(markdown(rows, COLUMNS))


if __name__ == "__main__":
    main()

"""What ``train`` plans by itself against its fixed defaults: equal minutes of one thread, on several data sets.

    python benchmarks/plans.py --minutes 5
    python benchmarks/plans.py --minutes 30 --sets bccd neu-det --seeds 0 1 2 --weights none start
    python benchmarks/plans.py --minutes 5 --sets chess --ways plan --change batch=16 --change augment.scale=0.5

A cell is one data set, way, start and seed. "plan" gives nothing; "before" has the defaults that ``train`` had without
a plan (--set plan=false); "before at the plan's size" those, with the plan's imgsz and one branch. Each --change is a
way of its own: the plan with one setting in another's place.

Minutes are of processor time, by a few measured steps of each way, so that other programs do not count: cells are equal
on a busy machine too. Finished cells are kept, an interrupted one goes on. Scores are those of the best epoch on the
val split, which flatters all ways alike. Writes results/plans.json and prints its table.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from ghostyolo.config import parse_assignments, spread_dots
from ghostyolo.data.formats import load_dataset
from ghostyolo.train.detection.planning import Planner
from ghostyolo.train.detection.start import prepare
from ghostyolo.train.recipe import TrainRecipe
from report import RESULTS, Row, data_root, markdown, read_rows, replace_row, write_results

SETS = ("bccd", "neu-det", "chess", "traffic-lights", "kangaroo", "plates")
WAYS = ("plan", "before", "before at the plan's size")
KEYS = ("data", "model", "way", "start", "seed", "minutes")
COLUMNS = {
    **dict.fromkeys(("data", "way", "start", "seed"), ""),
    **{"minutes": "g", "imgsz": "d", "epochs": "d", "batches": "d", "AP": ".3f", "AP50": ".3f"},
}


def place_of(root: Path, name: str) -> Path:
    """The folder of a data set."""
    return root / name if (root / name).is_dir() else root / "targets" / name


def settle(data: Path, model: str, options: dict[str, Any]) -> dict[str, Any]:
    """The whole recipe of a cell, with the epochs that its minutes of processor time have room for."""
    read = load_dataset(data)
    asked = TrainRecipe.from_dict(spread_dots(options))
    planner = Planner(asked, read, clock=time.process_time)
    if asked.plan:
        planner.choose_network(model)
        asked = planner.plan.recipe()
    prepared = prepare(model, asked, read)
    recipe = planner.choose_training(prepared.network, prepared.recipe, prepared.metadata(read), False)
    values = recipe.model_dump(mode="json", exclude_unset=True)
    return {**values, "imgsz": recipe.imgsz, "plan": False, "minutes": None}


def cell_options(way: str, change: dict[str, Any], args: argparse.Namespace, planned: Path) -> dict[str, Any]:
    """What a way gives; ``planned`` is the recipe of the plan for the same data."""
    common = {"minutes": args.minutes, "threads": args.threads, "plots": False, "tensorboard": False, **change}
    if way == "before":
        return {**common, "plan": False}
    if way == "before at the plan's size":
        size = yaml.safe_load(planned.read_text(encoding="utf-8"))["imgsz"]
        return {**common, "plan": False, "imgsz": size, "branches": 1}
    return common


def train(args: argparse.Namespace, name: str, way: str, change: dict[str, Any], start: str, seed: int) -> Row:
    """The row of a cell, trained where it is not there."""
    data = place_of(args.data_root, name)
    stem = f"{name}-{args.model}-{args.minutes:g}min-{start}-seed{seed}"
    folder = args.runs / f"{stem}-{way.replace(' ', '-')}"
    file, planned = folder.with_suffix(".yaml"), args.runs / f"{stem}-plan.yaml"
    if not file.is_file():
        args.runs.mkdir(parents=True, exist_ok=True)
        recipe = settle(data, args.model, {**cell_options(way, change, args, planned), "seed": seed})
        file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    if not (folder / "results.json").is_file():
        weights = ["--weights", start] if start != "start" else []
        resume = ["--resume"] if (folder / "config.yaml").is_file() else []
        command = ["train", "--data", data, "--model", args.model, *weights, "--recipe", file, "--out", folder, *resume]
        subprocess.run([sys.executable, "-m", "ghostyolo.cli.main", *map(str, command)], check=True)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    recipe = yaml.safe_load(file.read_text(encoding="utf-8"))
    with (folder / "metrics.csv").open(encoding="utf-8") as rows:
        last = list(csv.DictReader(rows))[-1]
    pictures = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["run"]["pictures"]["train"]
    return {
        "data": name, "model": args.model, "way": way, "start": start, "seed": seed, "minutes": args.minutes,
        "imgsz": recipe["imgsz"], "epochs": int(last["epoch"]),
        "batches": int(last["epoch"]) * -(-pictures // recipe.get("batch", 16)),
        "AP": round(results["metrics"]["AP"], 4), "AP50": round(results["metrics"]["AP50"], 4), "recipe": recipe,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ghostyolo-n")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--change", action="append", default=[], help="KEY=VALUE; a way of its own")
    parser.add_argument("--weights", nargs="+", default=["none"], help="none, start or a file")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-root", type=Path, default=data_root())
    parser.add_argument("--runs", type=Path, default=Path("runs/plans"))
    parser.add_argument("--results", type=Path, default=RESULTS / "plans.json")
    args = parser.parse_args()

    ways: list[tuple[str, dict[str, Any]]] = [(way, {}) for way in args.ways]
    ways += [(f"plan, {text}", parse_assignments([text], "--change")) for text in args.change]
    for seed in args.seeds:
        for start in args.weights:
            for name in args.sets:
                for way, change in ways:
                    row = train(args, name, way, change, start, seed)
                    write_results(args.results, replace_row(read_rows(args.results), row, KEYS), "torch")
    print(markdown(read_rows(args.results), COLUMNS))


if __name__ == "__main__":
    main()

"""Accuracy from scratch of released detectors on the data of accuracy.py, scored by our own COCO metrics.

    python benchmarks/peer_accuracy.py --peer-python PEER_ENVIRONMENT/bin/python --models yolo26n yolo11n --seeds 0 1 2
    python benchmarks/peer_accuracy.py --score-only --models yolo26n

A cell is one model, data set and seed. peer_train.py trains it in the environment of the released ``ultralytics``
package (or of one made from it, such as YOLOv13's) with that package's own settings, at the size, epochs and batch of
benchmarks/recipes/NAME.yaml, and detects on the val split with the checkpoint that the package calls its best: chosen
on that split, as ours is. Both see the same pictures: a copy of the data set in YOLO layout. Finished cells are kept
and interrupted ones go on after their last epoch, so the same command may be given again and again. A model whose name
is also one of ours is called ``released NAME`` in the results. Writes ``results/peer_accuracy.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ghostyolo.data.formats import load_dataset
from ghostyolo.data.formats.write import write_dataset
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import GhostYoloError
from ghostyolo.evaluate.coco import CocoEvaluator, Metrics
from ghostyolo.evaluate.detections import ImageDetections
from ghostyolo.files import write_text
from processes import run_measured, side_by_side
from report import RESULTS, Row, data_root, markdown, read_rows, replace_row, write_results

RECIPES = Path(__file__).resolve().parent / "recipes"
KEYS = ("model", "data", "imgsz", "epochs", "seed")
DESCRIBED = "peer.yaml"
COLUMNS = {
    "model": "", "data": "", "imgsz": "d", "epochs": "d", "seed": "d", "AP": ".3f", "AP50": ".3f", "minutes": ".0f",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One training run: a network of the package, data, seed, and the settings of the data set's recipe."""

    model: str
    data: str
    seed: int
    imgsz: int
    epochs: int
    batch: int

    def folder(self, runs: Path) -> Path:
        """Where it is trained; a shorter run, such as a trial, has a place of its own."""
        return runs / f"{self.data}-{self.model}-{self.imgsz}px-{self.epochs}epochs-seed{self.seed}"


def cells(args: argparse.Namespace) -> list[Cell]:
    """All that was asked for, one seed of everything after the other."""
    settings = {}
    for data in args.data:
        recipe = yaml.safe_load((RECIPES / f"{data}.yaml").read_text(encoding="utf-8"))
        settings[data] = {key: getattr(args, key) or recipe[key] for key in ("imgsz", "epochs", "batch")}
    return [
        Cell(model.removesuffix(".yaml"), data, seed, **settings[data])
        for seed in args.seeds
        for data in args.data
        for model in args.models
    ]


def copy_in_yolo_layout(source: Path, folder: Path) -> None:
    """Copy train and val once, whole, with the YAML that the peer reads. An unfinished copy is made again."""
    described = folder / DESCRIBED
    if not described.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        data = load_dataset(source)
        write_dataset(replace(data, splits={split: data.splits[split] for split in ("train", "val")}), folder)
        content = {
            "path": str(folder.resolve()),
            "train": "images/train",
            "val": "images/val",
            "names": dict(enumerate(data.class_names)),
        }
        write_text(described, yaml.safe_dump(content, sort_keys=False))


def complete(cell: Cell, args: argparse.Namespace) -> bool:
    """Train a cell that is not finished, unless ``--score-only``; return whether there are detections to score."""
    detections = cell.folder(args.runs) / "detections.json"
    if not detections.is_file():
        if args.score_only:
            print(f"{detections.parent} is not finished: left out", flush=True)
            return False
        train(cell, args)
    return True


def train(cell: Cell, args: argparse.Namespace) -> None:
    """Train a cell, or go on with it, and detect, in the peers' environment."""
    described = args.runs / "data" / cell.data / DESCRIBED
    folder = cell.folder(args.runs)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"training {folder}", flush=True)
    numbers = {key: getattr(cell, key) for key in ("imgsz", "epochs", "batch", "seed")} | {"threads": args.threads}
    options = [word for key, value in numbers.items() for word in (f"--{key}", str(value))]
    script = Path(__file__).with_name("peer_train.py")
    run_measured(
        [args.peer_python, str(script), f"{cell.model}.yaml", str(described), str(folder), *options,
         "--device", args.device, "--workers", str(args.workers)],
        folder / "log.txt",
        args.threads,
    )  # fmt: skip


def score(records: Sequence[ImageRecord], class_names: Sequence[str], found: list[dict[str, Any]]) -> Metrics:
    """COCO metrics of detections that name their picture by its file.

    Raises:
        SystemExit: the pictures are not those of the split.
    """
    by_name = {record.path.name: record for record in records}
    if len(by_name) < len(records) or by_name.keys() != {one["picture"] for one in found}:
        raise SystemExit("the pictures with detections are not the val split's: delete this cell's folder, train again")
    evaluator = CocoEvaluator(class_names)
    for one in found:
        detections = ImageDetections.from_arrays(one["boxes_xyxy"], one["scores"], one["labels"])
        evaluator.add(by_name[one["picture"]], detections)
    return evaluator.compute()


def row_of(cell: Cell, folder: Path, data: DetectionData) -> Row:
    """The row of a finished cell."""
    answer = json.loads((folder / "detections.json").read_text(encoding="utf-8"))
    epochs = json.loads((folder / "epochs.json").read_text(encoding="utf-8")).values()
    metrics = score(data.splits["val"], data.class_names, answer["pictures"])
    return {
        "model": row_name(cell.model),
        "data": cell.data,
        "imgsz": cell.imgsz,
        "epochs": cell.epochs,
        "seed": cell.seed,
        "batch": cell.batch,
        "AP": None if metrics.AP is None else round(metrics.AP, 4),
        "AP50": None if metrics.AP50 is None else round(metrics.AP50, 4),
        "minutes": round(sum(epoch["with_val"] for epoch in epochs) / 60, 1),
        "peak_mb": round(max(epoch["peak_mb"] for epoch in epochs)),
        "source": "benchmarks/peer_accuracy.py",
        "peer_packages": answer["packages"],
    }


def row_name(model: str) -> str:
    """What the results call a released network: told apart from ours of the same name."""
    from ghostyolo.models.names import list_models

    return f"released {model}" if model in list_models() else model


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="python of an environment with ultralytics")
    parser.add_argument("--models", nargs="+", default=["yolo26n", "yolo11n"], help="networks of that package")
    parser.add_argument("--data", nargs="+", default=["bccd", "neu-det"], choices=["bccd", "neu-det"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--score-only", action="store_true", help="train nothing, score what is finished")
    for name in ("imgsz", "epochs", "batch"):
        parser.add_argument(f"--{name}", type=int, help="default: the recipe's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="as the package calls it: cpu, 0, ...")
    parser.add_argument("--workers", type=int, default=0, help="processes that read pictures; 0: the training one")
    parser.add_argument("--jobs", type=int, default=1, help="cells that train at the same time")
    parser.add_argument("--data-root", type=Path, default=data_root())
    parser.add_argument("--runs", type=Path, default=Path("runs/peer_accuracy"))
    parser.add_argument("--results", type=Path, default=RESULTS / "peer_accuracy.json")
    args = parser.parse_args()
    if not args.score_only:
        if args.peer_python is None:
            parser.error("--peer-python is needed: python of an environment with ultralytics (or give --score-only)")
        if shutil.which(args.peer_python) is None:
            parser.error(f"--peer-python {args.peer_python} is no program")
    return args


def main() -> None:
    args = arguments()
    rows, wanted = read_rows(args.results), cells(args)
    if not args.score_only:
        for data in args.data:
            copy_in_yolo_layout(args.data_root / data, args.runs / "data" / data)
    for cell, there in zip(wanted, side_by_side(lambda cell: complete(cell, args), wanted, args.jobs), strict=True):
        if there:
            row = row_of(cell, cell.folder(args.runs), load_dataset(args.data_root / cell.data))
            rows = replace_row(rows, row, KEYS)
            write_results(args.results, rows, "faster-coco-eval")
    print(markdown(rows, COLUMNS))


if __name__ == "__main__":
    try:
        main()
    except GhostYoloError as error:
        raise SystemExit(f"error: {error}") from None

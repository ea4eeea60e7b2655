"""The ingredients of GhostNetV3's training strategy on CIFAR-10, one at a time against the same base.

    python benchmarks/cifar_ablation.py
    python benchmarks/cifar_ablation.py --models ghostnetv3:width=0.5 --epochs 10 --limit 10000 --seeds 0 1 2
    python benchmarks/cifar_ablation.py --cells base all --epochs 200

Top-1 of the weights after the last epoch on the 10,000 test pictures, so that no epoch is picked by its test score.
Every cell has the same seeds; a difference is that of the same seed to the base, with a 95 % interval of Student's t,
and where that holds 0 the table says that no difference is shown. The base of a GhostNetV3 is the same graph without
branches, which is GhostNetV2's. The teacher is trained here, with the recipe ``cifar``. A finished cell is kept, an
interrupted one goes on. Recipe: recipes/pretrain/cifar10.yaml.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from ghostyolo.files import write_text
from report import RESULTS, Row, data_root, markdown, read_rows, replace_row, write_results

RECIPE = Path(__file__).resolve().parent / "recipes" / "pretrain" / "cifar10.yaml"
MODELS = ["ghostnetv3", "mobilenetv2@n"]
RANDAUGMENT = {"randaugment": "rand-m9-n2-mstd0.5-inc1"}
KD: dict[str, Any] = {"alpha": 0.5, "tau": 4.0}
CELLS: dict[str, dict[str, Any]] = {
    "base": {},
    "branches": {"branches": 3},
    "distillation": KD,
    "EMA": {"ema_decay": 0.999},
    "RandAugment": RANDAUGMENT,
    "random erasing": {"erase": 0.25},
    "Mixup": {"mixup": 0.2},
    "CutMix": {"cutmix": 1.0},
    "label smoothing": {"label_smoothing": 0.1},
    "step schedule": {"schedule": "step", "decay_rate": 0.1},
    "LAMB": {"optimizer": "lamb", "lr": 0.005, "weight_decay": 0.05},
    "all": {"branches": 3, **KD, "ema_decay": 0.999, **RANDAUGMENT, "erase": 0.25},
}
KEYS = ("model", "cell", "seed", "epochs", "limit")
COLUMNS = {
    "model": "", "cell": "", "seeds": "d", "top1": ".2f", "deviation": ".2f", "difference": "+.2f", "interval": "",
    "shown": "",
}  # fmt: skip
# Two-sided 95 % quantiles of Student's t by degrees of freedom.
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def network_of(model: str, options: dict[str, Any]) -> str:
    """The name to train: a GhostNetV3 without branches is a GhostNetV2."""
    return model if "branches" in options else model.replace("ghostnetv3", "ghostnetv2")


def pretrain(out: Path, recipe: str, model: str, options: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Run the command, or go on with it, or take what it wrote."""
    if not (out / "metrics.json").is_file():
        begun = (out / "config.yaml").is_file()
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in options.items() if value is not None]
        command = [
            sys.executable, "-m", "ghostyolo.cli.main", "pretrain", "--data", str(args.data), "--model", model,
            "--recipe", recipe, "--out", str(out), "--device", args.device, "--precision", args.precision,
            "--workers", str(args.workers), *flags, *(["--resume"] if begun else []),
        ]  # fmt: skip
        if args.threads:
            command += ["--threads", str(args.threads)]
        done = subprocess.run(command)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed")
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return metrics


def last_top1(out: Path) -> float:
    """Top-1 after the last epoch, in per cent."""
    header, *rows = (out / "metrics.csv").read_text().splitlines()
    return 100 * float(rows[-1].split(",")[header.split(",").index("val/top1")])


def run_cell(model: str, cell: str, seed: int, args: argparse.Namespace) -> Row:
    options = {**CELLS[cell], "epochs": args.epochs, "limit": args.limit, "seed": seed, "val_every": args.epochs}
    if options.get("schedule") == "step":
        options["decay_epochs"] = args.epochs / 3
    if "alpha" in options:
        plan = {"epochs": args.teacher_epochs, "limit": args.limit, "seed": 0, "val_every": args.teacher_epochs}
        folder = args.runs / f"teacher-{args.teacher.replace(':', '-')}-{args.teacher_epochs}-{args.limit}"
        pretrain(folder, "cifar", args.teacher, plan, args)
        options |= {
            "teacher": folder / "best.safetensors",
            "teacher_cache": args.runs / f"logits-{cell}-{args.epochs}-{args.limit}-{seed}",
        }
    name = f"{model.replace(':', '-')}-{cell.replace(' ', '-')}-{args.epochs}-{args.limit}-{seed}"
    metrics = pretrain(args.runs / name, str(RECIPE), network_of(model, CELLS[cell]), options, args)
    return {
        "model": model,
        "cell": cell,
        "seed": seed,
        "epochs": args.epochs,
        "limit": args.limit,
        "top1": round(last_top1(args.runs / name), 3),
        **{key: metrics[key] for key in ("params_deployed", "macs_deployed", "images_per_second", "training_seconds")},
    }


def summarise(rows: list[Row]) -> list[Row]:
    """Mean and deviation of each cell, and its difference to the base over the seeds that both have."""
    tops: dict[tuple[str, str, int, Any], dict[int, float]] = {}
    for row in rows:
        tops.setdefault((row["model"], row["cell"], row["epochs"], row["limit"]), {})[row["seed"]] = row["top1"]
    table = []
    for (model, cell, epochs, limit), by_seed in tops.items():
        values = list(by_seed.values())
        line: Row = {
            "model": model, "cell": cell, "epochs": epochs, "limit": limit, "seeds": len(values),
            "top1": statistics.mean(values), "deviation": statistics.stdev(values) if len(values) > 1 else None,
            "difference": None, "interval": None, "shown": None,
        }  # fmt: skip
        base = tops.get((model, "base", epochs, limit), {})
        pairs = [by_seed[seed] - base[seed] for seed in by_seed if seed in base]
        if cell != "base" and pairs:
            line["difference"] = statistics.mean(pairs)
            if 1 < len(pairs) <= len(T95) + 1:
                half = T95[len(pairs) - 2] * statistics.stdev(pairs) / len(pairs) ** 0.5
                low, high = line["difference"] - half, line["difference"] + half
                line["interval"] = f"{low:+.2f} to {high:+.2f}"
                line["shown"] = "no difference shown" if low <= 0 <= high else ("helps" if low > 0 else "hurts")
        table.append(line)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS), metavar="CELL")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--limit", type=int, default=None, help="training pictures, evenly of all classes")
    parser.add_argument("--teacher", default="resnet18", help="trained here first, for the cells with distillation")
    parser.add_argument("--teacher-epochs", type=int, default=60)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="32")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--data", type=Path, default=data_root() / "cifar10")
    parser.add_argument("--runs", type=Path, default=Path("runs/cifar-ablation"))
    parser.add_argument("--results", type=Path, default=RESULTS / "cifar_ablation.json")
    args = parser.parse_args()

    rows = read_rows(args.results)
    for seed in args.seeds:
        for model in args.models:
            for cell in args.cells:
                rows = replace_row(rows, run_cell(model, cell, seed, args), KEYS)
                write_results(
                    args.results, rows, "torch", "timm", "lightning", recipe=RECIPE.read_text(encoding="utf-8")
                )
                print(rows[-1], flush=True)
    table = markdown(summarise(rows), COLUMNS)
    write_text(args.results.with_suffix(".md"), table + "\n")
    print(table)


if __name__ == "__main__":
    main()

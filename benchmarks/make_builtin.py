"""The command that makes the weights inside the package: train, export, store as float16, draw the demo's pictures.

    python benchmarks/make_builtin.py digits
    python benchmarks/make_builtin.py bccd neu-det
    python benchmarks/make_builtin.py bccd --run runs/accuracy/bccd-yolov13n-ghostnetv3-1-seed0

For each name it writes NAME.onnx (float16 storage, float32 arithmetic) and NAME.safetensors (float16, with branches,
for fine-tuning) into src/ghostyolo/assets, and refuses files over 6 MB. ``--run`` takes a finished training run and
trains nothing. An interrupted training goes on where it stopped. For digits it also generates the scenes, and the
demo's pictures, which are of the val split and of a seed that neither training nor builtin.py uses.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from report import REPOSITORY, data_root

ASSETS = REPOSITORY / "src" / "ghostyolo" / "assets"
RECIPES = Path(__file__).resolve().parent / "recipes"
LARGEST_BYTES = 6_000_000

TRAIN_SCENES, VAL_SCENES, SCENES_SEED = 1600, 200, 0
DEMO_PICTURES, DEMO_SIDE, DEMO_SEED = 6, 480, 2000


def ghostyolo(*arguments: object) -> None:
    """Run our own command; its failure ends this script."""
    subprocess.run([sys.executable, "-m", "ghostyolo.cli.main", *map(str, arguments)], check=True)


def digit_scenes(folder: Path, train: int, val: int) -> Path:
    """Generate the scenes that the demo's detector learns from, unless they are there."""
    if not (folder / "data.yaml").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        ghostyolo("data", "digits", "--out", folder, "--train", train, "--val", val, "--seed", SCENES_SEED)
    return folder


def train(recipe: str, data: Path, folder: Path, start: list[object], args: argparse.Namespace) -> Path:
    """Train by recipes/RECIPE.yaml, or go on with it, or do nothing where it is finished; return the run's folder.

    ``start`` is the network, or the weights to go on from, as options of ``ghostyolo train``.
    """
    if (folder / "results.json").is_file():
        return folder
    resume = ["--resume"] if (folder / "config.yaml").is_file() else []
    ghostyolo(
        *("train", "--data", data, *start, "--set", "plan=false", "--set", f"branches={args.branches}"),
        *("--recipe", RECIPES / f"{recipe}.yaml", "--seed", args.seed, "--out", folder, *resume, *args.more),
    )
    return folder


def install(name: str, run: Path, assets: Path) -> None:
    """Write NAME.onnx and NAME.safetensors of a run's best weights."""
    from ghostyolo.models.weights import load_checkpoint, save_checkpoint

    best = run / "best.safetensors"
    onnx, checkpoint = assets / f"{name}.onnx", assets / f"{name}.safetensors"
    ghostyolo("export", "--weights", best, "--precision", "fp16", "--overwrite", "--out", onnx)
    model, metadata = load_checkpoint(best)
    save_checkpoint(model, metadata, checkpoint, half=True)
    for path in (onnx, checkpoint):
        size = path.stat().st_size
        print(f"{path}: {size / 1e6:.2f} MB")
        if size > LARGEST_BYTES:
            sys.exit(f"{path} is over {LARGEST_BYTES / 1e6:g} MB: train with fewer --branches")


def demo_pictures(assets: Path) -> None:
    """Draw the pictures that ``ghostyolo demo`` shows."""
    from ghostyolo.data.scenes import generate_scenes

    pictures = assets / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data = generate_scenes(folder, of="digits", train=0, val=4 * DEMO_PICTURES, imgsz=DEMO_SIDE, seed=DEMO_SEED)
        busy = sorted(data.splits["val"], key=lambda record: -len(record.labels))[:DEMO_PICTURES]
        for number, record in enumerate(busy, start=1):
            shutil.copyfile(record.path, pictures / f"digits-{number}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=["digits", "bccd", "neu-det"])
    parser.add_argument("--run", type=Path, help="a finished run of the one name given; nothing is trained")
    parser.add_argument("--model", default="yolov13n-ghostnetv3")
    parser.add_argument("--branches", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-scenes", type=int, default=TRAIN_SCENES)
    parser.add_argument("--val-scenes", type=int, default=VAL_SCENES)
    parser.add_argument("--data-root", type=Path, default=data_root())
    parser.add_argument("--runs", type=Path, default=Path("runs/builtin"))
    parser.add_argument("--assets", type=Path, default=ASSETS)
    parser.add_argument("--more", nargs=argparse.REMAINDER, default=[], help="options for ghostyolo train")
    args = parser.parse_args()
    if args.run is not None and len(args.names) != 1:
        parser.error("--run is of one name")

    for name in args.names:
        run = args.run
        if run is None:
            data = args.data_root / name
            if name == "digits":
                data = digit_scenes(args.runs / "scenes", args.train_scenes, args.val_scenes)
            run = train(name, data, args.runs / name, ["--model", args.model, "--weights", "none"], args)
            if name == "digits":
                first = ["--weights", run / "best.safetensors"]
                run = train("digits_fine", data, args.runs / "digits_fine", first, args)
        args.assets.mkdir(parents=True, exist_ok=True)
        install(name, run, args.assets)
        if name == "digits":
            demo_pictures(args.assets)


if __name__ == "__main__":
    main()

"""The command that makes the start weights inside the package: what `train` begins from where nothing is said.

    python benchmarks/make_start.py ghostyolo-n
    python benchmarks/make_start.py ghostyolo-n ghostyolo-p ghostyolo-s yolov13n-ghostnetv3 --stage 160:12:3000

Real pictures (shared/data/start: one data set a source, each labelling its own classes) and generated scenes are
trained on together, in stages of SIDE:EPOCHS:SCENES, each from the last one's weights. An interrupted run goes on where
it stopped: run the command again. The same command with one more --stage goes on from its weights, and `--begin FILE`
from weights that are here, as those inside the package. At the end NAME.safetensors (float16, one branch a convolution)
and NAME.json (for each command: data, recipe, scores, machine) are written to src/ghostyolo/assets/start; `--install`
writes them from what there is so far.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from report import REPOSITORY, data_root

ASSETS = REPOSITORY / "src" / "ghostyolo" / "assets" / "start"
RECIPE = Path(__file__).resolve().parent / "recipes" / "start.yaml"
LARGEST_BYTES = 16_000_000


def ghostyolo(*arguments: object) -> None:
    """Run our own command; its failure ends this script."""
    subprocess.run([sys.executable, "-m", "ghostyolo.cli.main", *map(str, arguments)], check=True)


def real_sets(corpus: Path, work: Path) -> list[Path]:
    """The corpus, one COCO JSON with classes named ``set:class``, as a data set for each source."""
    folder = work / "sets"
    if not (folder / "done").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        for path in sorted((corpus / "annotations").glob("instances_*.json")):
            whole = json.loads(path.read_text())
            for source in sorted({image["source"] for image in whole["images"]}):
                write_set(whole, source, path.name, corpus, folder / source)
        (folder / "done").touch()
    return sorted(path for path in folder.iterdir() if path.is_dir())


def write_set(whole: dict[str, Any], source: str, name: str, corpus: Path, folder: Path) -> None:
    """One source's pictures and classes as a COCO data set, its pictures linked."""
    images = [image for image in whole["images"] if image["source"] == source]
    ids = {image["id"] for image in images}
    categories = [one for one in whole["categories"] if one["name"].partition(":")[0] == source]
    annotations = [one for one in whole["annotations"] if one["image_id"] in ids]
    foreign = {one["category_id"] for one in annotations} - {one["id"] for one in categories}
    if foreign:
        sys.exit(f"{source}: its pictures have labels of other sets' classes: {sorted(foreign)}")
    split = name.removeprefix("instances_").removesuffix(".json")
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    pictures = folder / "images" / split
    pictures.mkdir(parents=True)
    for image in images:
        (pictures / image["file_name"]).symlink_to((corpus / "images" / image["file_name"]).resolve())
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / name).write_text(json.dumps(content))


def scenes(work: Path, count: int, side: int, seed: int, without: str) -> Path:
    """Generated scenes, unless they are there."""
    folder = work / f"scenes-{count}-{side}-{seed}{'-' if without else ''}{without.replace(',', '-')}"
    if not (folder / "annotations" / "instances_train.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        options = ["--without", without] if without else []
        sizes = ("--train", count, "--val", max(count // 50, 20), "--imgsz", side)
        ghostyolo("data", "scenes", "--out", folder, *sizes, "--seed", seed, "--layout", "coco", *options)
    return folder


def train(
    name: str, data: list[Path], folder: Path, weights: Path | None, stage: tuple[int, int], more: list[str]
) -> Path:
    """Train a stage, go on with it, or do nothing where it is finished; return its last weights."""
    side, epochs = stage
    last = folder / "last.safetensors"
    if (folder / "results.json").is_file():
        return last
    resume = ["--resume"] if (folder / "config.yaml").is_file() else []
    if weights is None:
        start: list[object] = ["--weights", "none"]
    else:
        start = ["--weights", weights]
    sets = [argument for path in data for argument in ("--data", path)]
    ghostyolo(
        *("train", *sets, "--model", name, *start, "--set", "plan=false", "--set", "branches=1", "--recipe", RECIPE),
        *("--imgsz", side, "--epochs", epochs),
        *("--out", folder, *resume, *more),
    )
    return last


def install(name: str, weights: Path, folders: list[Path], data: list[Path], command: str, begin: Path | None) -> None:
    """Write the weights as float16 and what there is to know about them, also about those they began from."""
    from ghostyolo.benchmark.machine import describe_machine
    from ghostyolo.models.weights import load_checkpoint, save_checkpoint

    model, metadata = load_checkpoint(weights)
    ASSETS.mkdir(parents=True, exist_ok=True)
    target = ASSETS / f"{name}.safetensors"
    save_checkpoint(model, metadata, target, half=True)
    if target.stat().st_size > LARGEST_BYTES:
        sys.exit(f"{target} is over {LARGEST_BYTES / 1e6:g} MB")
    stages = []
    for folder in folders:
        recipe = yaml.safe_load((folder / "config.yaml").read_text())["recipe"]
        kept = {key: value for key, value in recipe.items() if key not in ("weights", "device", "threads", "workers")}
        stages.append({"recipe": kept, "epochs": (folder / "metrics.csv").read_text().splitlines()})
    training = {
        "command": command,
        "data": {path.name: digest(path) for path in data},
        "stages": stages,
        "scores": metadata.metrics,
        "machine": describe_machine("torch"),
    }
    card = {
        "network": name,
        "file": target.name,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "trainings": [*trainings_of(begin), training],
    }
    (ASSETS / f"{name}.json").write_text(json.dumps(card, indent=1) + "\n")
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


def trainings_of(weights: Path | None) -> list[dict[str, Any]]:
    """What the card beside weights says of how they were made."""
    if weights is None:
        return []
    card = weights.with_suffix(".json")
    if not card.is_file():
        sys.exit(f"{weights} has no card {card.name} beside it that says how it was made")
    trainings: list[dict[str, Any]] = json.loads(card.read_text())["trainings"]
    return trainings


def digest(folder: Path) -> str:
    """A short hash of a set's training labels."""
    return hashlib.sha256((folder / "annotations" / "instances_train.json").read_bytes()).hexdigest()[:16]


def stage_of(text: str) -> tuple[int, int, int]:
    """``SIDE:EPOCHS:SCENES`` as numbers."""
    side, epochs, scenes = text.split(":")
    return int(side), int(epochs), int(scenes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NETWORK")
    parser.add_argument(
        "--stage", action="append", type=stage_of,
        help="SIDE:EPOCHS:SCENES (generated, beside the real pictures), may be repeated [128:5:7000 160:20:3000]",
    )  # fmt: skip
    parser.add_argument("--without", default="", help="ingredients of the scenes to leave out")
    parser.add_argument("--no-real", action="store_true", help="scenes alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-root", type=Path, default=data_root())
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "start")
    parser.add_argument("--install", action="store_true", help="write the assets of what there is; train nothing")
    parser.add_argument("--begin", type=Path, help="weights of that network that the first stage goes on from [none]")
    parser.add_argument("--more", nargs=argparse.REMAINDER, default=[], help="options for ghostyolo train")
    args = parser.parse_args()
    stages = args.stage or [(128, 5, 7000), (160, 20, 3000)]
    if args.begin is not None and (len(args.names) > 1 or not args.begin.is_file()):
        parser.error("--begin FILE: a weights file of one network")

    args.work.mkdir(parents=True, exist_ok=True)
    real = [] if args.no_real else real_sets(args.data_root / "start", args.work)
    data: dict[str, Path] = {path.name: path for path in real}
    for name in args.names:
        sizes = " ".join(f"--stage {side}:{epochs}:{count}" for side, epochs, count in stages)
        command = f"python benchmarks/make_start.py {name} {sizes} --seed {args.seed}"
        if args.begin is not None:
            command += f" --begin {args.begin.name}"
        weights, folders = args.begin, []
        for number, (side, epochs, count) in enumerate(stages, start=1):
            folder = args.work / name / f"{number}-{side}px-{epochs}-epochs"
            if args.install and not (folder / "last.safetensors").is_file():
                break
            sets = [*real, scenes(args.work, count, 192, args.seed, args.without)] if count else real
            data |= {path.name: path for path in sets}
            if args.install:
                weights = folder / "last.safetensors"
            else:
                weights = train(name, sets, folder, weights, (side, epochs), ["--seed", str(args.seed), *args.more])
            folders.append(folder)
        if weights is None or not folders:
            sys.exit(f"{name}: there are no weights in {args.work / name} yet")
        install(name, weights, folders, list(data.values()), command, args.begin)


if __name__ == "__main__":
    main()

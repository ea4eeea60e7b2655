"""The command that makes the start weights inside the package: what `train` begins from where nothing is said.

    python benchmarks/make_start.py ghostyolo-n
    python benchmarks/make_start.py ghostyolo-n ghostyolo-p ghostyolo-s yolov13n-ghostnetv3 --stage 160:12 --stage 320:4

Real pictures (shared/data/start: one data set a source, each labelling its own classes) and generated scenes are
trained on together, in stages of SIDE:EPOCHS, each from the last one's weights. An interrupted run goes on where it
stopped: run the command again. A finished run and the same command with one more --stage goes on from its weights, and
`--begin benchmarks/start/NAME.safetensors` on another machine from weights that are not good enough to ship yet. At
the end NAME.safetensors (float16, one branch a convolution) and NAME.json (data, recipe, scores, hashes) are written to
src/ghostyolo/assets/start; `--install` writes them from what there is so far.
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


def install(name: str, weights: Path, folders: list[Path], data: list[Path], command: str) -> None:
    """Write the weights as float16 and what there is to know about them."""
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
    card = {
        "network": name,
        "file": target.name,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "command": command,
        "data": {path.name: digest(path) for path in data},
        "stages": stages,
        "scores": metadata.metrics,
        "machine": describe_machine("torch"),
    }
    (ASSETS / f"{name}.json").write_text(json.dumps(card, indent=1) + "\n")
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


def digest(folder: Path) -> str:
    """A short hash of a set's training labels."""
    return hashlib.sha256((folder / "annotations" / "instances_train.json").read_bytes()).hexdigest()[:16]


def stage_of(text: str) -> tuple[int, int]:
    """``SIDE:EPOCHS`` as numbers."""
    side, _, epochs = text.partition(":")
    return int(side), int(epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NETWORK")
    parser.add_argument("--stage", action="append", type=stage_of, help="SIDE:EPOCHS, may be repeated [160:30 256:10]")
    parser.add_argument(
        "--scenes", type=int, default=7000, help="generated scenes beside the real pictures; 0 for none"
    )
    parser.add_argument("--without", default="", help="ingredients of the scenes to leave out")
    parser.add_argument("--no-real", action="store_true", help="scenes alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-root", type=Path, default=data_root())
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "start")
    parser.add_argument("--install", action="store_true", help="write the assets of what there is; train nothing")
    parser.add_argument("--begin", type=Path, help="weights of that network that the first stage goes on from [none]")
    parser.add_argument("--more", nargs=argparse.REMAINDER, default=[], help="options for ghostyolo train")
    args = parser.parse_args()
    stages = args.stage or [(160, 30), (256, 10)]
    if args.begin is not None and (len(args.names) > 1 or not args.begin.is_file()):
        parser.error("--begin FILE: a weights file of one network")

    args.work.mkdir(parents=True, exist_ok=True)
    data = [] if args.no_real else real_sets(args.data_root / "start", args.work)
    if args.scenes:
        data.append(scenes(args.work, args.scenes, 192, args.seed, args.without))
    for name in args.names:
        sizes = " ".join(f"--stage {side}:{epochs}" for side, epochs in stages)
        command = f"python benchmarks/make_start.py {name} {sizes} --scenes {args.scenes} --seed {args.seed}"
        if args.begin is not None:
            command += f" --begin {args.begin.name}"
        weights, folders = args.begin, []
        for number, stage in enumerate(stages, start=1):
            folder = args.work / name / f"{number}-{stage[0]}px-{stage[1]}-epochs"
            if args.install:
                if not (folder / "last.safetensors").is_file():
                    break
                weights = folder / "last.safetensors"
            else:
                weights = train(name, data, folder, weights, stage, ["--seed", str(args.seed), *args.more])
            folders.append(folder)
        if not folders:
            sys.exit(f"{name}: there are no weights in {args.work / name} yet")
        install(name, weights, folders, data, command)


if __name__ == "__main__":
    main()

"""Images a second and peak memory of training on the CPU: any models of ours beside released ones.

    python benchmarks/training_speed.py --peer-python PEER_ENVIRONMENT/bin/python
    python benchmarks/training_speed.py --models ghostyolo-n:1 ghostyolo-n:3 yolov13n --peers yolo26n

``NAME:BRANCHES`` is a model with so many training branches, ``NAME`` one with its own number of them. Peers are
networks of the released ``ultralytics`` package in an environment of its own (``pip install ultralytics``), trained
through its public interface. Everyone gets the same pictures, size, batch, threads, mosaic and RAM cache, and reads in
the training process. Each measurement is a fresh process; rounds are interleaved (every contestant once, then again),
so that a busy minute of the machine hits all of them. Images a second: pictures / median epoch after the first, medians
over rounds. Memory: the process's largest resident set, torch and all included, no validation. Ratios are to the first
peer, without --peer-python to the first model. Writes ``results/training_speed.json``; ap_latency.py shows its figures
as multiples of YOLO26-n's.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from processes import run_measured
from report import RESULTS, Row, data_root, markdown, write_results

MODELS = ["ghostyolo-p:1", "ghostyolo-n:1", "ghostyolo-n:3", "ghostyolo-s:1", "ghostyolo-m:1", "yolov13n-ghostnetv3:1"]
PEERS = ["yolo26n", "yolo11n"]
COLUMNS = {
    "model": "", "branches": "", "images_per_second": ".1f", "peak_mb": ".0f", "speed_ratio": ".2f",
    "memory_ratio": ".2f",
}  # fmt: skip


@dataclass(frozen=True)
class Contestant:
    """A network to train: of ours with a number of branches (None: its own), or of the peers' package."""

    name: str
    branches: int | None = None
    peer: bool = False

    @property
    def model(self) -> str:
        """What the results call it; a released network may have the name of one of ours."""
        return f"ultralytics {self.name}" if self.peer else self.name

    def __str__(self) -> str:
        if self.branches is None:
            return self.model
        return f"{self.model}, {self.branches} branch{'es' if self.branches > 1 else ''}"


def model_of_ours(text: str) -> Contestant:
    """Read ``NAME`` or ``NAME:BRANCHES``, for argparse."""
    name, colon, count = text.partition(":")
    if not name or (colon and not (count.isdigit() and int(count) > 0)):
        raise argparse.ArgumentTypeError(f"'{text}': write NAME or NAME:BRANCHES, such as ghostyolo-n:3")
    return Contestant(name, int(count) if colon else None)


def write_pictures(source: Path, count: int, folder: Path) -> None:
    """The first pictures of a data set, described for us (training only) and for the peer (which demands val)."""
    from ghostyolo.data.formats import load_dataset
    from ghostyolo.data.formats.write import write_dataset

    data = load_dataset(source)
    records = data.splits["train"][:count]
    write_dataset(replace(data, splits={"train": records, "val": records[:2]}), folder)
    described = {"path": str(folder), "train": "images/train", "names": data.class_names}
    (folder / "ours.yaml").write_text(yaml.safe_dump(described))
    (folder / "peer.yaml").write_text(yaml.safe_dump({**described, "val": "images/val"}))


def measure_ours(one: Contestant, folder: Path, args: argparse.Namespace) -> tuple[list[float], float]:
    """Seconds of each epoch and peak MB of ``ghostyolo train``."""
    branches = [] if one.branches is None else ["--set", f"branches={one.branches}"]
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        peak = run_measured(
            [sys.executable, "-m", "ghostyolo.cli.main", "train", "--data", str(folder / "ours.yaml"),
             "--model", one.name, *branches, "--epochs", str(args.epochs), "--imgsz", str(args.imgsz),
             "--set", "plan=false",
             "--batch", str(args.batch), "--threads", str(args.threads), "--set", "close_mosaic=0",
             "--device", "cpu", "--weights", "none",
             "--workers", "0", "--set", "plots=false", "--out", str(out), *args.ours],
            Path(scratch) / "log.txt",
            args.threads,
        )  # fmt: skip
        with (out / "metrics.csv").open() as file:
            return [float(row["seconds"]) for row in csv.DictReader(file)], peak


def measure_peer(
    one: Contestant, folder: Path, args: argparse.Namespace, versions: dict[str, str]
) -> tuple[list[float], float]:
    """Seconds of each epoch and peak MB of a peer."""
    script = Path(__file__).with_name("peer_ultralytics.py")
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        numbers = (args.imgsz, args.batch, args.threads, args.epochs)
        peak = run_measured(
            [args.peer_python, str(script), f"{one.name}.yaml", str(folder / "peer.yaml"), *map(str, numbers),
             scratch, str(result)],
            Path(scratch) / "log.txt",
            args.threads,
        )  # fmt: skip
        measured = json.loads(result.read_text())
        versions.update(measured["packages"])
        return measured["seconds"], peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", type=model_of_ours, default=[model_of_ours(text) for text in MODELS],
        metavar="NAME[:BRANCHES]", help=f"default: {' '.join(MODELS)}",
    )  # fmt: skip
    parser.add_argument("--peers", nargs="+", default=PEERS, help="networks of ultralytics; ratios are to the first")
    parser.add_argument("--peer-python", help="python of an environment with ultralytics; without: ours alone")
    parser.add_argument("--data", type=Path, default=data_root() / "bccd")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--epochs", type=int, default=3, help="the first one is not counted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS / "training_speed.json")
    parser.add_argument("ours", nargs="*", help="after --: options for ghostyolo train alone")
    args = parser.parse_args()
    if args.epochs < 2:
        parser.error("--epochs must be at least 2: the first one fills the cache")

    if args.peer_python and shutil.which(args.peer_python) is None:
        parser.error(f"--peer-python {args.peer_python} is no program")

    peers = [Contestant(name.removesuffix(".yaml"), peer=True) for name in args.peers] if args.peer_python else []
    contestants = list(dict.fromkeys([*args.models, *peers]))
    speeds: dict[Contestant, list[float]] = {one: [] for one in contestants}
    peaks: dict[Contestant, list[float]] = {one: [] for one in contestants}
    peer_versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        write_pictures(args.data, args.images, folder)
        for number in range(args.rounds):
            for one in contestants:
                if one.peer:
                    seconds, peak = measure_peer(one, folder, args, peer_versions)
                else:
                    seconds, peak = measure_ours(one, folder, args)
                speed = args.images / statistics.median(seconds[1:])
                speeds[one].append(speed)
                peaks[one].append(peak)
                print(f"round {number + 1}: {one}: {speed:.1f} images/s, {peak:.0f} MB", flush=True)
    rows = table(speeds, peaks, peers[0] if peers else contestants[0])
    write_results(
        args.results,
        rows,
        "torch",
        "lightning",
        peer_packages=peer_versions,
        data=args.data.name,
        **{key: getattr(args, key) for key in ("images", "imgsz", "batch", "threads", "epochs", "rounds", "ours")},
    )
    print(markdown(rows, COLUMNS))


def table(speeds: dict[Contestant, list[float]], peaks: dict[Contestant, list[float]], base: Contestant) -> list[Row]:
    """Medians over the rounds, and their ratios to those of ``base``."""
    return [
        {
            "model": one.model,
            "branches": one.branches,
            "images_per_second": round(statistics.median(speeds[one]), 2),
            "peak_mb": round(statistics.median(peaks[one])),
            "speed_ratio": round(statistics.median(speeds[one]) / statistics.median(speeds[base]), 3),
            "memory_ratio": round(statistics.median(peaks[one]) / statistics.median(peaks[base]), 3),
            "ratio_to": str(base),
            "all_images_per_second": [round(value, 2) for value in speeds[one]],
            "all_peak_mb": [round(value) for value in peaks[one]],
        }
        for one in speeds
    ]


if __name__ == "__main__":
    main()

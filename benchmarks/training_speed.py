"""Images a second and peak memory of training on the CPU: ours beside Ultralytics' YOLO11-n.

    python benchmarks/training_speed.py --peer-python PEER_ENVIRONMENT/bin/python

The peer is the released ``ultralytics`` package in an environment of its own (``pip install ultralytics``), trained
through its public interface. Everyone gets the same pictures, size, batch, threads, mosaic and RAM cache, and reads
in the training process. Each measurement is a fresh process; rounds are interleaved (every contestant once, then
again), so that a busy minute of the machine hits all of them. Images a second: pictures / median epoch after the
first, medians over rounds. Memory: the process's largest resident set, torch and all included, no validation.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import yaml

from processes import run_measured
from report import RESULTS, Row, data_root, markdown, write_results

PEER = "ultralytics yolo11n"
OURS = {
    "yolov13n": ("yolov13n",),
    "yolov13n-ghostnetv3, 1 branch": ("yolov13n-ghostnetv3", "--branches", "1"),
    "yolov13n-ghostnetv3, 3 branches": ("yolov13n-ghostnetv3", "--branches", "3"),
}


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


def measure_ours(options: tuple[str, ...], folder: Path, args: argparse.Namespace) -> tuple[list[float], float]:
    """Seconds of each epoch and peak MB of ``ghostyolo train``."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        peak = run_measured(
            [sys.executable, "-m", "ghostyolo.cli.main", "train", "--data", str(folder / "ours.yaml"),
             "--model", *options, "--epochs", str(args.epochs), "--imgsz", str(args.imgsz),
             "--batch", str(args.batch), "--threads", str(args.threads), "--close-mosaic", "0",
             "--device", "cpu", "--workers", "0", "--no-plots", "--out", str(out), *args.ours],
            Path(scratch) / "log.txt",
            args.threads,
        )  # fmt: skip
        with (out / "metrics.csv").open() as file:
            return [float(row["seconds"]) for row in csv.DictReader(file)], peak


def measure_peer(folder: Path, args: argparse.Namespace, versions: dict[str, str]) -> tuple[list[float], float]:
    """Seconds of each epoch and peak MB of the peer."""
    script = Path(__file__).with_name("peer_ultralytics.py")
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        numbers = (args.imgsz, args.batch, args.threads, args.epochs)
        peak = run_measured(
            [args.peer_python, str(script), "yolo11n.yaml", str(folder / "peer.yaml"), *map(str, numbers),
             scratch, str(result)],
            Path(scratch) / "log.txt",
            args.threads,
        )  # fmt: skip
        measured = json.loads(result.read_text())
        versions.update(measured["packages"])
        return measured["seconds"], peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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

    speeds: dict[str, list[float]] = {}
    peaks: dict[str, list[float]] = {}
    peer_versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        write_pictures(args.data, args.images, folder)
        for number in range(args.rounds):
            for name in [*OURS, *([PEER] if args.peer_python else [])]:
                if name == PEER:
                    seconds, peak = measure_peer(folder, args, peer_versions)
                else:
                    seconds, peak = measure_ours(OURS[name], folder, args)
                speed = args.images / statistics.median(seconds[1:])
                speeds.setdefault(name, []).append(speed)
                peaks.setdefault(name, []).append(peak)
                print(f"round {number + 1}: {name}: {speed:.1f} images/s, {peak:.0f} MB", flush=True)
    rows = table(speeds, peaks)
    write_results(
        args.results,
        rows,
        "torch",
        "lightning",
        peer_packages=peer_versions,
        data=args.data.name,
        **{key: getattr(args, key) for key in ("images", "imgsz", "batch", "threads", "epochs", "rounds", "ours")},
    )
    print(
        markdown(rows, {"model": "", "images_per_second": ".1f", "peak_mb": ".0f", "speed_ratio": ".2f",
                        "memory_ratio": ".2f"})
    )  # fmt: skip


def table(speeds: dict[str, list[float]], peaks: dict[str, list[float]]) -> list[Row]:
    """Medians, and ratios to the peer (to our yolov13n where there is no peer)."""
    base = PEER if PEER in speeds else "yolov13n"
    return [
        {
            "model": name,
            "images_per_second": round(statistics.median(speeds[name]), 2),
            "peak_mb": round(statistics.median(peaks[name])),
            "speed_ratio": round(statistics.median(speeds[name]) / statistics.median(speeds[base]), 3),
            "memory_ratio": round(statistics.median(peaks[name]) / statistics.median(peaks[base]), 3),
            "ratio_to": base,
            "all_images_per_second": [round(value, 2) for value in speeds[name]],
            "all_peak_mb": [round(value) for value in peaks[name]],
        }
        for name in speeds
    ]


if __name__ == "__main__":
    main()

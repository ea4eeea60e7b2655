"""Train a detector of the released ``ultralytics`` package and detect on its val split, for peer_accuracy.py.

    PEER_PYTHON peer_train.py MODEL.yaml DATA.yaml OUT --imgsz 320 --epochs 100 --batch 16 --seed 0 --threads 1

Runs in that package's environment, through its public interface, and imports nothing of ours. From scratch, with the
package's own settings but for those above; in float32 on a GPU too, as on a CPU and as ours, and nothing is plotted.
Given again after an interruption it goes on after the last epoch that the package saved. Writes into OUT:

- ``epochs.json``: of each epoch its seconds in batches, its seconds with validation, the process's peak MB (with both);
- ``detections.json``: what the package's ``predict`` finds with its own best checkpoint in each picture of the val
  split (confidence 0.001, IoU of the suppression 0.7, at most 300 a picture; one class a box, as ``predict`` answers),
  and versions. It is written last: where it stands, the run is finished.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

CONFIDENCE, IOU, MOST = 0.001, 0.7, 300


def write(path: Path, value: object) -> None:
    """JSON, whole or not at all."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(path)


def peak_mb() -> float:
    """The largest resident memory of this process so far, torch and all included."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest * (1024 if sys.platform == "linux" else 1) / 1e6  # macOS counts bytes


class EpochLog:
    """Callbacks that note each epoch once the package has saved it, so that the notes go as far as its last.pt."""

    def __init__(self, path: Path, threads: int) -> None:
        self.path, self.threads = path, threads
        self.epochs: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
        self.start = self.seconds = 0.0

    def attach(self, detector: Any) -> None:
        detector.add_callback("on_train_start", self.begin)
        detector.add_callback("on_train_epoch_start", self.epoch_start)
        detector.add_callback("on_train_epoch_end", self.batches_end)
        detector.add_callback("on_model_save", self.saved)

    def begin(self, trainer: Any) -> None:
        import torch

        torch.set_num_threads(self.threads)  # the package sets its own number when it chooses the device

    def epoch_start(self, trainer: Any) -> None:
        self.start = time.perf_counter()

    def batches_end(self, trainer: Any) -> None:
        self.seconds = time.perf_counter() - self.start

    def saved(self, trainer: Any) -> None:
        whole = time.perf_counter() - self.start
        self.epochs[str(trainer.epoch)] = {"seconds": self.seconds, "with_val": whole, "peak_mb": peak_mb()}
        write(self.path, self.epochs)


def train(args: argparse.Namespace, log: EpochLog) -> Path:
    """Train, go on, or do nothing where the last epoch is saved; return the package's best checkpoint."""
    from ultralytics import YOLO

    weights = args.out.resolve() / "train" / "weights"
    last, best = weights / "last.pt", weights / "best.pt"
    if str(args.epochs - 1) in log.epochs:
        return best
    going_on = last.is_file()
    try:
        detector = YOLO(str(last) if going_on else args.model)
    except FileNotFoundError:
        sys.exit(f"the ultralytics package of {sys.executable} has no {args.model}")
    log.attach(detector)
    if not going_on:
        detector.train(
            data=str(args.data.resolve()), imgsz=args.imgsz, epochs=args.epochs, batch=args.batch, seed=args.seed,
            device=args.device, pretrained=False, workers=args.workers, amp=False, plots=False,
            project=str(args.out.resolve()), name="train", exist_ok=True,
        )  # fmt: skip
    elif detector.ckpt["epoch"] >= 0:  # the package writes -1 when it ends, which may be before the last epoch
        detector.train(resume=True, device=args.device)
    return best


def detect(weights: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Boxes in pixels of each picture of the val split, one entry a picture."""
    from ultralytics import YOLO

    found = YOLO(str(weights)).predict(
        str(args.data.resolve().parent / "images" / "val"), imgsz=args.imgsz, conf=CONFIDENCE, iou=IOU, max_det=MOST,
        device=args.device, stream=True, verbose=False,
    )  # fmt: skip
    return [
        {
            "picture": Path(one.path).name,
            "boxes_xyxy": one.boxes.xyxy.cpu().tolist(),
            "scores": one.boxes.conf.cpu().tolist(),
            "labels": one.boxes.cls.int().cpu().tolist(),
        }
        for one in found
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a YAML of the package, such as yolo26n.yaml")
    parser.add_argument("data", type=Path, help="a YAML of a data set; val pictures in images/val beside it")
    parser.add_argument("out", type=Path)
    for name in ("imgsz", "epochs", "batch", "seed", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that read pictures; 0: this one")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ.update(YOLO_CONFIG_DIR=str(args.out.resolve()), YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")
    import torch
    import ultralytics

    best = train(args, EpochLog(args.out / "epochs.json", args.threads))
    torch.set_num_threads(args.threads)
    versions = {"ultralytics": ultralytics.__version__, "torch": torch.__version__}
    write(args.out / "detections.json", {"packages": versions, "pictures": detect(best, args)})


if __name__ == "__main__":
    main()

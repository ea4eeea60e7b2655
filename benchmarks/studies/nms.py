"""What our suppression costs beside OpenCV's and torchvision's, from a few boxes to crowds.

    python benchmarks/studies/nms.py

Boxes of one class are scattered around objects whose number and size are given; times are CPU time of one thread, the
least of three calls in turn. "recall" is the share of the objects of which a box is kept. OpenCV's own is what was used
before, on the best 3,000 candidates. Writes ``results/nms.json``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torchvision

from ghostyolo.runtime.postprocess import select_detections
from ghostyolo.thresholds import Selection

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where report.py is
from report import RESULTS, Row, markdown, write_results

IOU, ROUNDS, FORMER_LIMIT, SIDE = 0.7, 3, 3000, 4000
CASES = ((3, 10), (30, 10), (100, 30), (500, 10), (1000, 30), (5000, 8))
COLUMNS = {
    **dict.fromkeys(("objects", "candidates"), ""),
    **dict.fromkeys(("ours ms", "torchvision ms", "opencv ms"), ".2f"),
    **dict.fromkeys(("recall", "recall of torchvision", "recall of opencv"), ".3f"),
}
Boxes = npt.NDArray[np.float32]


def scattered(objects: int, boxes_each: int) -> tuple[Boxes, Boxes, npt.NDArray[np.int64]]:
    """Boxes (N, 4), scores (N,) and whose each is: objects of 24 to 40 px on a grid, boxes within a pixel of them."""
    rng = np.random.default_rng(0)
    columns = int(np.ceil(np.sqrt(objects)))
    middles = (np.stack(np.divmod(np.arange(objects), columns), 1)[:, ::-1] + 0.5) * SIDE / columns
    sizes = rng.uniform(24, 40, (objects, 2))
    owner = np.repeat(np.arange(objects), boxes_each)
    corners = np.concatenate((middles - sizes / 2, middles + sizes / 2), 1)[owner] + rng.normal(0, 0.7, (len(owner), 4))
    scores = rng.permutation(np.linspace(0.3, 1, len(owner)))  # no two alike: a box is known by its score
    return corners.astype(np.float32), scores.astype(np.float32), owner


def by_opencv(boxes: Boxes, scores: Boxes) -> npt.NDArray[np.int64]:
    """Positions that are kept of the best 3,000."""
    best = np.argsort(-scores)[:FORMER_LIMIT]
    sides = np.concatenate((boxes[best, :2], boxes[best, 2:] - boxes[best, :2]), 1)
    return best[np.asarray(cv2.dnn.NMSBoxes(sides, scores[best], 0.0, IOU), np.int64).ravel()]


def main() -> None:
    """Measure every case."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows: list[Row] = []
    for objects, boxes_each in CASES:
        boxes, scores, owner = scattered(objects, boxes_each)
        selection = Selection(confidence=0.25, iou=IOU, max_detections=len(boxes))
        tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
        position = {score: number for number, score in enumerate(scores.tolist())}
        ways: dict[str, Callable[[], npt.NDArray[np.int64]]] = {
            "ours": lambda: np.array(
                [position[s] for s in select_detections(boxes, scores[:, None], selection)[1].tolist()]  # noqa: B023
            ),
            "torchvision": lambda: torchvision.ops.nms(*tensors, IOU).numpy(),  # noqa: B023
            "opencv": lambda: by_opencv(boxes, scores),  # noqa: B023
        }
        row: Row = {"objects": objects, "candidates": len(boxes)}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                start = time.process_time()
                kept = way()
                spent = 1000 * (time.process_time() - start)
                row[f"{name} ms"] = round(min(spent, row.get(f"{name} ms", np.inf)), 3)
                recall = "recall" if name == "ours" else f"recall of {name}"
                row[recall] = round(len(np.unique(owner[kept])) / objects, 4)
        rows.append(row)
    write_results(RESULTS / "nms.json", rows, "numpy", "opencv-python-headless", "torchvision")
    print(markdown(rows, COLUMNS))


if __name__ == "__main__":
    main()

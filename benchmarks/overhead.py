"""From a picture file to boxes beside Ultralytics: what does each spend outside the network?

Both read the same picture, run the same file (Ultralytics' own ONNX export of YOLO11-n, untrained) in the same session
class on the same core, and give boxes. Overhead is the time of a whole call less the time inside
``onnxruntime.InferenceSession.run``; calls alternate, figures are medians. The threshold is set so that about 100 boxes
reach suppression, as with a trained network in a crowded picture; the class logits of an untrained one are spread for
it. Nothing is drawn, printed or saved. Needs the ``ultralytics`` extra; that package is used through its public
interface only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from report import RESULTS, data_root, markdown, write_results

CANDIDATES = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="picture file; default: the first of BCCD's val split")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--results", type=Path, default=RESULTS / "overhead.json")
    arguments = parser.parse_args()
    image = arguments.image or first_picture()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, so one thread, for both
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(YOLO_CONFIG_DIR=folder, YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")
        weights = export_peer(Path(folder), image, arguments.imgsz)
        rows = measure(weights, image, arguments.imgsz, arguments.calls)
    write_results(
        arguments.results, rows, "onnxruntime", "ultralytics-opencv-headless", "opencv-python-headless",
        imgsz=arguments.imgsz, calls=arguments.calls, cores=1, image=image.name,
    )  # fmt: skip
    columns = {"program": "", "boxes": "", "total_ms": ".1f", "network_ms": ".1f", "overhead_ms": ".1f", "ratio": ".2f"}
    print(markdown(rows, columns))


def first_picture() -> Path:
    from ghostyolo.data.formats import load_dataset

    return load_dataset(data_root() / "bccd", splits=["val"]).splits["val"][0].path


def export_peer(folder: Path, image: Path, imgsz: int) -> Path:
    import torch
    import ultralytics

    torch.manual_seed(0)
    detector = ultralytics.YOLO("yolo11n.yaml")
    spread_scores(detector.model, torch.from_numpy(canvas_of(image, imgsz)))
    os.chdir(folder)  # it writes beside the working folder
    return Path(folder) / str(detector.export(format="onnx", imgsz=imgsz, simplify=False))


def spread_scores(network: Any, images: Any) -> None:
    """Bring an untrained network to life: batch norms that fit what passes them, class logits that differ."""
    import torch

    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        network.train()(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        layers = [branch[-1] for branch in network.model[-1].cv3]
        for layer in layers:
            layer.bias.zero_()
        hooks = [layer.register_forward_hook(_rescale) for layer in layers]
        network.eval()(images)
        for layer, hook in zip(layers, hooks, strict=True):
            hook.remove()
            layer.bias.fill_(-6)


def _rescale(layer: Any, inputs: Any, logits: Any) -> None:
    layer.weight /= logits.std()


def measure(weights: Path, image: Path, imgsz: int, calls: int) -> list[dict[str, Any]]:
    import onnxruntime
    import ultralytics

    import ghostyolo

    inside: list[float] = []
    run = onnxruntime.InferenceSession.run

    def timed(self: Any, *args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        outputs = run(self, *args, **options)
        inside.append(time.perf_counter() - start)
        return outputs

    onnxruntime.InferenceSession.run = timed
    ours = ghostyolo.load(weights, threads=1)
    theirs = ultralytics.YOLO(str(weights), task="detect")
    confidence = threshold(ours, image)

    def our_boxes() -> int:
        (found,) = ours.predict(str(image), confidence=confidence, iou=0.7, rect=False)
        return len(found.detections)

    def their_boxes() -> int:
        (found,) = theirs.predict(str(image), conf=confidence, iou=0.7, imgsz=imgsz, device="cpu", verbose=False)
        return len(found.boxes)

    programs: dict[str, Callable[[], int]] = {"ultralytics predict": their_boxes, "ghostyolo predict": our_boxes}
    times: dict[str, list[tuple[float, float, int]]] = {name: [] for name in programs}
    for call in range(calls + 3):
        for name, program in programs.items():
            inside.clear()
            start = time.perf_counter()
            boxes = program()
            total = time.perf_counter() - start
            if call >= 3:
                times[name].append((total, sum(inside), boxes))
    rows = []
    for name, measured in times.items():
        row = {
            "program": name,
            "boxes": measured[0][2],
            "total_ms": 1000 * statistics.median(total for total, _, _ in measured),
            "network_ms": 1000 * statistics.median(network for _, network, _ in measured),
            "overhead_ms": 1000 * statistics.median(total - network for total, network, _ in measured),
        }
        row["ratio"] = row["overhead_ms"] / (rows[0]["overhead_ms"] if rows else row["overhead_ms"])
        rows.append(row)
    return rows


def threshold(predictor: Any, image: Path) -> float:
    """The score that about CANDIDATES boxes of the picture exceed."""
    _, scores = predictor.engine(canvas_of(image, predictor.metadata.imgsz))
    return float(np.sort(scores[0].max(1))[-CANDIDATES])


def canvas_of(image: Path, imgsz: int) -> np.ndarray:
    """The picture as input: (1, 3, imgsz, imgsz) in 0..1."""
    from ghostyolo.data.images import read_image
    from ghostyolo.data.letterbox import network_input, plan_letterbox

    picture = read_image(image)
    plan = plan_letterbox(picture.shape[1], picture.shape[0], imgsz)
    return network_input([picture], [plan])


if __name__ == "__main__":
    main()

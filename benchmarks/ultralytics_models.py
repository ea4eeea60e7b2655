"""Parameters and FLOPs of the detectors that our integration brings to ``ultralytics``, at 640 x 640 and 80 classes.

    python benchmarks/ultralytics_models.py [--results FILE]

Runs in an environment with ``ghostyolo[ultralytics]``. Each family is counted with its own backbone (that package's
file, for YOLOv13 ours), with GhostNetV3 and with its PSA variant, folded by that package's ``fuse()``. Every
convolution and matrix product counts, FLOPs = 2 x MACs, so figures are a little above those that the package prints.
Prints the table of docs/ultralytics.md and writes ``results/ultralytics_models.json``.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ghostyolo.integrations.ultralytics import model_files, register
from ghostyolo.models.count import count_macs, count_parameters
from report import RESULTS, Row, markdown, write_results

IMGSZ = 640
LETTERS = "nsmlx"
BACKBONES = ("", "-ghostnetv3", "-ghostnetv3-psa")


class Maps(nn.Module):
    """A detector up to the raw maps of its head: what remains is decoding, which has no products to count."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: torch.Tensor) -> Any:
        self.detector.model[-1].training = True
        return self.detector(images)


def count(detection_model: Any, name: str) -> Row:
    """Parameters (millions) in training and folded, and FLOPs (billions) of one folded picture."""
    model = detection_model(name, verbose=False)
    trained = count_parameters(model)
    folded = model.eval().fuse(verbose=False)
    return {
        "model": name.removesuffix(".yaml"),
        "params_m": round(trained / 1e6, 3),
        "params_deployed_m": round(count_parameters(folded) / 1e6, 3),
        "flops_g": round(2 * count_macs(Maps(folded), IMGSZ) / 1e9, 2),
    }


def table(rows: list[Row]) -> str:
    """One line a family and scale: deployed parameters and FLOPs with each backbone."""
    figures = {row["model"]: f"{row['params_deployed_m']:.2f} M, {row['flops_g']:.1f} G" for row in rows}
    models = [model for model in figures if "-" not in model]
    lines = [
        {"model": model, **{backbone or "own backbone": figures[model + backbone] for backbone in BACKBONES}}
        for model in models
    ]
    return markdown(lines, dict.fromkeys(lines[0], ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS / "ultralytics_models.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as settings:
        os.environ.update(YOLO_CONFIG_DIR=settings, YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")
        register()
        from ultralytics.nn.tasks import DetectionModel

        families = {re.findall(r"^yolov?\d+", name)[0] for name in model_files()}
        rows = []
        for family in sorted(families, key=lambda family: int(family.strip("yolv"))):
            for letter in LETTERS:
                for backbone in BACKBONES:
                    rows.append(count(DetectionModel, f"{family}{letter}{backbone}.yaml"))
                    print(rows[-1], flush=True)
        write_results(options.results, rows, "torch", "ultralytics-opencv-headless", imgsz=IMGSZ, classes=80)
    print(table(rows))


if __name__ == "__main__":
    main()

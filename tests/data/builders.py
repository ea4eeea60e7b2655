"""Small data sets on disk for the tests of the readers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np


def picture(path: Path, width: int = 100, height: int = 50, seed: int = 0) -> Path:
    """A picture of noise, so that two seeds never give equal pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def yolo(root: Path, labels: dict[str, str | None], names: str = "{0: cat, 1: dog}") -> Path:
    """A YOLO data set; ``labels`` maps ``train/a`` to the rows of its label file, None for no file."""
    for seed, (name, rows) in enumerate(labels.items()):
        picture(root / "images" / f"{name}.png", seed=seed)
        if rows is not None:
            text(root / "labels" / f"{name}.txt", rows)
    splits = sorted({name.split("/")[0] for name in labels})
    lines = [f"{split}: images/{split}" for split in splits]
    text(root / "data.yaml", "\n".join(["path: .", *lines, f"names: {names}"]))
    return root


def coco(root: Path, images: list[dict], annotations: list[dict], categories: list[dict] | None = None) -> Path:
    """A COCO data set of one split, val2017; pictures of 100 x 50 are drawn for ``images``."""
    for seed, image in enumerate(images):
        picture(root / "val2017" / image["file_name"], seed=seed)
    categories = categories or [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    text(root / "annotations" / "instances_val2017.json", json.dumps(content))
    return root


def voc_xml(objects: list[tuple[str, tuple, int]], filename: str = "a.png", size: tuple[int, int] = (100, 50)) -> str:
    body = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin>"
        f"<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for name, box, difficult in objects
    )
    return (
        f"<annotation><filename>{filename}</filename><size><width>{size[0]}</width>"
        f"<height>{size[1]}</height></size>{body}</annotation>"
    )

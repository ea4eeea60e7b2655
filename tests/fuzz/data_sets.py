"""Data sets of each layout with random faults, and how many of their boxes are sound. One seed, one data set."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 64, 48
CLASSES = ["cat", "dog"]
STEMS = ["a", "my dog", "caf\u00e9", "b 1", "x" * 100, "图", "a.b", "UPPER", "7"]
LAYOUTS = ("yolo", "coco", "voc")


@dataclass
class Box:
    """Corners in pixels, a label, and what is wrong with it: "", or a fault of :data:`BOX_FAULTS`."""

    corners: tuple[float, float, float, float]
    label: int
    fault: str = ""


@dataclass
class Picture:
    """A stem, its boxes, and what is wrong with the file: "", "cut", "gone", "hidden" or "unlisted"."""

    stem: str
    boxes: list[Box] = field(default_factory=list)
    fault: str = ""


BOX_FAULTS = {
    # What is written instead of the box, and what reading makes of it.
    "flat": "dropped",
    "outside": "dropped",
    "partly": "clipped",
    "class": "refused",
    "text": "refused",
    "repeated": "kept",
}


def draw(seed: int) -> tuple[str, list[Picture]]:
    """Return a layout and pictures; most of them, and of their boxes, are sound."""
    rng = random.Random(seed)
    pictures = []
    for stem in rng.sample(STEMS, rng.randint(1, 5)):
        boxes = []
        for _ in range(rng.randint(0, 5)):
            x1, y1 = rng.randint(0, WIDTH - 10), rng.randint(0, HEIGHT - 10)
            corners = (x1, y1, rng.randint(x1 + 4, WIDTH), rng.randint(y1 + 4, HEIGHT))
            fault = rng.choice(list(BOX_FAULTS)) if rng.random() < 0.15 else ""
            boxes.append(Box(corners, rng.randrange(2), fault))
        fault = rng.choice(["cut", "gone", "hidden"]) if rng.random() < 0.15 else ""
        pictures.append(Picture(stem, boxes, fault))
    return rng.choice(LAYOUTS), pictures


def write(root: Path, seed: int) -> tuple[str, list[Picture]]:
    """Write the data set of a seed."""
    layout, pictures = draw(seed)
    rng = random.Random(seed + 1)
    for number, picture in enumerate(pictures):
        name = f"{'._' if picture.fault == 'hidden' else ''}{picture.stem}.png"
        path = root / ("JPEGImages" if layout == "voc" else "images/train") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed * 100 + number).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        encoded = cv2.imencode(".png", pixels)[1].tobytes()
        path.write_bytes(encoded[: len(encoded) // 3] if picture.fault == "cut" else encoded)
        if picture.fault == "gone":
            path.unlink()
    encoding = rng.choice(["utf-8", "utf-8-sig", "utf-16"])
    {"yolo": _write_yolo, "coco": _write_coco, "voc": _write_voc}[layout](root, pictures, encoding)
    if rng.random() < 0.3:  # what a Mac leaves behind
        shutil.copytree(root, root / "__MACOSX" / "copy", dirs_exist_ok=True)
    return layout, pictures


def written(box: Box) -> tuple[tuple[float, float, float, float], int]:
    """Return the corners and label that are written for a box."""
    x1, y1, _, y2 = box.corners
    corners = {
        "flat": (x1, y1, x1, y2),
        "outside": (WIDTH + 3, y1, WIDTH + 9, y2),
        "partly": (x1, y1, WIDTH + 20, y2),
    }.get(box.fault, box.corners)
    return corners, 9 if box.fault == "class" else box.label


def _write_yolo(root: Path, pictures: list[Picture], encoding: str) -> None:
    for picture in pictures:
        rows = []
        for box in picture.boxes:
            (x1, y1, x2, y2), label = written(box)
            row = f"{label} {(x1 + x2) / 2 / WIDTH} {(y1 + y2) / 2 / HEIGHT} {(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}"
            rows += ["nonsense" if box.fault == "text" else row] * (2 if box.fault == "repeated" else 1)
        _write(root / f"labels/train/{picture.stem}.txt", "\n".join(rows), encoding)
    _write(root / "data.yaml", "train: images/train\nnames: [cat, dog]", encoding)


def _write_coco(root: Path, pictures: list[Picture], encoding: str) -> None:
    images, annotations = [], []
    for number, picture in enumerate(pictures):
        images.append({"id": number, "file_name": f"{picture.stem}.png", "width": WIDTH, "height": HEIGHT})
        for box in picture.boxes:
            (x1, y1, x2, y2), label = written(box)
            bbox = ["nonsense"] if box.fault == "text" else [x1, y1, x2 - x1, y2 - y1]
            row = {"id": len(annotations), "image_id": number, "category_id": label, "bbox": bbox}
            annotations += [row] * (2 if box.fault == "repeated" else 1)
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    _write(root / "annotations/instances_train.json", json.dumps(content, ensure_ascii=False), encoding)


def _write_voc(root: Path, pictures: list[Picture], encoding: str) -> None:
    for picture in pictures:
        objects = ""
        for box in picture.boxes:
            corners, label = written(box)
            name = CLASSES[label] if label < 2 else "unicorn"
            sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
            bounds = "".join(f"<{key}>{'nonsense' if box.fault == 'text' else value}</{key}>" for key, value in sides)
            item = f"<object><name>{name}</name><bndbox>{bounds}</bndbox></object>"
            objects += item * (2 if box.fault == "repeated" else 1)
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        xml = f"<annotation><filename>{picture.stem}.png</filename>{size}{objects}</annotation>"
        _write(root / f"Annotations/{picture.stem}.xml", xml, encoding)
    _write(root / "classes.txt", "\n".join(CLASSES), encoding)
    _write(root / "ImageSets/Main/train.txt", "\n".join(picture.stem for picture in pictures), encoding)


def _write(path: Path, content: str, encoding: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))

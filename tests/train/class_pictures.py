"""Tiny pictures of one colour a class, as folders and as Parquet files, and a recipe that takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

COLOURS = {"blue": (220, 40, 40), "green": (40, 220, 40), "red": (40, 40, 220)}  # BGR for OpenCV
OPTIONS: dict[str, Any] = {
    "epochs": 3, "imgsz": 32, "batch": 4, "device": "cpu", "tensorboard": False, "val_crop": 1.0, "warmup_epochs": 0.5,
    "lr": 0.01, "ema_decay": 0.5, "ema_ramp": 1.0, "label_smoothing": 0.0,
    "augment.randaugment": "rand-m5-inc1", "augment.erase": 0.5,
}  # fmt: skip


def picture(name: str, number: int, side: int = 32) -> np.ndarray:
    """A square of the class's colour on grey, not twice at the same place."""
    pixels = np.full((side, side, 3), 128, np.uint8)
    shift = number % 4 * 2
    pixels[4 + shift : 20 + shift, 6 : 24 - shift] = COLOURS[name]
    return pixels


def encoded(name: str, number: int) -> bytes:
    return cv2.imencode(".png", picture(name, number))[1].tobytes()


def write_folders(root: Path, train: int = 4, val: int = 2, names: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """``train`` and ``val`` pictures of each class; without ``val`` the classes are at the top."""
    for split, count in (("train", train), ("val", val)):
        for name in names if count else ():
            folder = root / split / name if val else root / name
            folder.mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(folder / f"{number}.png"), picture(name, number))
    return root


def write_parquet(path: Path, rows: list[tuple[bytes | None, Any]], names: tuple[str, ...] | None = None) -> Path:
    """One file in the layout of the Hugging Face hub."""
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    images = pa.array(
        [{"bytes": data, "path": None} for data, _ in rows], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    table = pa.table({"image": images, "label": [label for _, label in rows]})
    if names is not None:
        info = {"info": {"features": {"label": {"names": list(names)}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path

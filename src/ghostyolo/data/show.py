"""Writes one HTML page of a data set.

Pictures with boxes, what is wrong, and how boxes are spread.

The page needs no server and nothing beside it: small copies of the pictures are inside. Of a large data set a sample of
the pictures is shown, those with faults first; counts and histograms are of all. No torch.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ghostyolo.data.faults import KINDS, Fault, FaultList
from ghostyolo.data.formats.load import read_raw
from ghostyolo.data.formats.raw import RawData, build_data
from ghostyolo.data.images import read_image
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import DataError
from ghostyolo.files import write_text
from ghostyolo.text import printable

SAMPLE = 300
_SIDE = 400  # pixels of a small copy
_QUALITY = 72
_AT_A_TIME = 64
# At most so many pictures with faults are taken before the others, as a share of the sample.
_FAULTY_SHARE = 0.5
_LISTED_FAULTS = 200
# Borders of the histograms: the root of a box's share of its picture, in percent; width by height; cells of a side.
SIZES = (0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 57, 80, 101)
ASPECTS = (0, 0.125, 0.2, 0.33, 0.5, 0.71, 0.9, 1.11, 1.41, 2, 3, 5, 8, math.inf)
CELLS = 16


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Attributes:
        path: of the page.
        shown: pictures in it.
        pictures: of the data set.
    """

    path: Path
    shown: int
    pictures: int


def show_dataset(
    path: str | PathLike[str],
    out: str | PathLike[str],
    *,
    sample: int = SAMPLE,
    progress: Callable[[int, int], None] | None = None,
) -> Page:
    """Write the page; labels that training would refuse are shown as faults.

    Args:
        path: as for :func:`ghostyolo.data.formats.load_dataset`.
        out: the HTML file.
        sample: pictures to show at most, evenly of all splits; 0 for all.
        progress: called with (pictures done, pictures in all).

    Raises:
        DataError: there is no data set, or it has no picture.
        OutputError: the page cannot be written.
    """
    faults = FaultList()
    raw = read_raw(path, None, faults)
    data = build_data(raw, faults)
    data = replace(data, splits={split: records for split, records in data.splits.items() if records})
    pairs = [(split, record) for split, records in data.splits.items() for record in records]
    if not pairs:
        first = f" ({faults[0]})" if faults else ""
        raise DataError(f"{path} is an empty data set: it has no picture that can be read{first}")
    faults_of = _faults_by_picture(raw, faults)
    chosen = _choose(pairs, faults_of, sample)
    pictures: list[dict[str, Any]] = []
    content = {
        "name": printable(data.root.resolve().name),
        "root": printable(str(data.root)),
        "layout": data.layout,
        "classes": data.class_names,
        "splits": list(data.splits),
        "pictures": pictures,
        "counts": {split: len(records) for split, records in data.splits.items()},
        "statistics": _statistics(data),
        "borders": {"sizes": SIZES, "aspects": [border for border in ASPECTS if border != math.inf], "cells": CELLS},
        "faults": _listed(faults),
    }
    for done, entry in enumerate(_entries(chosen, faults_of, data.root), start=1):
        pictures.append(entry)
        if progress is not None:
            progress(done, len(chosen))
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    # "<" would end the script where a name holds "</script>".
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    write_text(out, template.replace("/*DATA*/", text, 1))
    return Page(Path(out), len(chosen), len(pairs))


def _faults_by_picture(raw: RawData, faults: Sequence[Fault]) -> dict[str, list[Fault]]:
    """The faults of each picture, found by its own path or that of its labels alone."""
    pictures: dict[str, set[str]] = {}
    for images in raw.splits.values():
        for image in images:
            key = os.path.abspath(image.path)
            pictures.setdefault(key, set()).add(key)
            pictures.setdefault(os.path.abspath(image.source), set()).add(key)
    found: dict[str, list[Fault]] = {}
    for fault in faults:
        owners = pictures.get(os.path.abspath(fault.path), set())
        if len(owners) == 1:
            found.setdefault(next(iter(owners)), []).append(fault)
    return found


def _choose(
    pairs: Sequence[tuple[str, ImageRecord]], faults_of: dict[str, list[Fault]], sample: int
) -> list[tuple[str, ImageRecord]]:
    """Pictures to show, in their order: some with faults, the others evenly."""
    if sample <= 0 or len(pairs) <= sample:
        return list(pairs)
    faulty = [
        index for index, (_, record) in enumerate(pairs) if _worst(faults_of.get(os.path.abspath(record.path), []))
    ]
    chosen = set(_evenly(faulty, min(len(faulty), int(sample * _FAULTY_SHARE))))
    others = [index for index in range(len(pairs)) if index not in chosen]
    chosen.update(_evenly(others, sample - len(chosen)))
    return [pairs[index] for index in sorted(chosen)]


def _evenly(items: Sequence[int], count: int) -> list[int]:
    return [items[index * len(items) // count] for index in range(count)]


def _worst(faults: Sequence[Fault]) -> str:
    levels = [fault.level for fault in faults]
    return next((level for level in ("error", "warning") if level in levels), "")


def _entries(
    chosen: Sequence[tuple[str, ImageRecord]], faults_of: dict[str, list[Fault]], root: Path
) -> Iterator[dict[str, Any]]:
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for start in range(0, len(chosen), _AT_A_TIME):
            part = chosen[start : start + _AT_A_TIME]
            for (split, record), small in zip(part, pool.map(_small_copy, [item for _, item in part]), strict=True):
                faults = faults_of.get(os.path.abspath(record.path), [])
                place = os.path.relpath(record.path, root)
                yield {
                    "name": printable(record.path.name if place.startswith("..") else place),
                    "split": split,
                    "width": record.width,
                    "height": record.height,
                    "small": small,
                    "boxes": [
                        [label, *(round(value, 1) for value in box), int(ignore)]
                        for label, box, ignore in zip(
                            record.labels.tolist(), record.boxes_xyxy.tolist(), record.ignore.tolist(), strict=True
                        )
                    ],
                    "faults": [[fault.kind, fault.level, printable(fault.message)] for fault in faults],
                }


def _small_copy(record: ImageRecord) -> str:
    """The picture as JPEG in base64; empty where it cannot be decoded."""
    try:
        if record.path.suffix.lower() == ".npy":
            pixels = np.load(record.path, allow_pickle=False)[:, :, :1].astype(np.float32)
            pixels = ((pixels - pixels.min()) * (255 / max(float(np.ptp(pixels)), 1e-6))).astype(np.uint8)
        else:
            pixels = read_image(record.path, 3, record.pixel_range)
    except (DataError, OSError, ValueError):
        return ""
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    bgr = small[:, :, ::-1] if small.ndim == 3 else small
    done, encoded = cv2.imencode(".jpg", np.ascontiguousarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return base64.b64encode(encoded.tobytes()).decode("ascii") if done else ""


def _statistics(data: DetectionData) -> list[dict[str, Any]]:
    """For each split and class: objects, pictures, and the histograms of its boxes."""
    rows = []
    for split, records in data.splits.items():
        sides = np.concatenate([np.tile((r.width, r.height), (len(r.labels), 1)) for r in records])
        boxes = np.concatenate([record.boxes_xyxy for record in records]).astype(np.float64)
        labels = np.concatenate([record.labels for record in records])
        pictures = Counter(label for record in records for label in set(record.labels.tolist()))
        width, height = (boxes[:, 2] - boxes[:, 0]), (boxes[:, 3] - boxes[:, 1])
        sizes = np.digitize(100 * np.sqrt(width * height / sides.prod(axis=1)), SIZES) - 1
        aspects = np.digitize(width / height, ASPECTS) - 1
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / sides
        cells = np.clip((centres * CELLS).astype(int), 0, CELLS - 1)
        places = cells[:, 1] * CELLS + cells[:, 0]
        for label in range(len(data.class_names)):
            own = labels == label
            if own.any():
                rows.append(
                    {
                        "split": split,
                        "label": label,
                        "objects": int(own.sum()),
                        "pictures": pictures[label],
                        "sizes": np.bincount(sizes[own], minlength=len(SIZES) - 1).tolist(),
                        "aspects": np.bincount(aspects[own], minlength=len(ASPECTS) - 1).tolist(),
                        "places": {str(place): count for place, count in Counter(places[own].tolist()).items()},
                    }
                )
    return rows


def _listed(faults: Sequence[Fault]) -> list[dict[str, Any]]:
    """Each kind of fault: its count, what reading does, and the first ones."""
    kinds: dict[str, list[Fault]] = {}
    for fault in faults:
        kinds.setdefault(fault.kind, []).append(fault)
    order = sorted(kinds, key=lambda kind: (("error", "warning", "info").index(KINDS[kind].level), kind))
    return [
        {
            "kind": kind,
            "level": KINDS[kind].level,
            "effect": KINDS[kind].effect,
            "count": sum(fault.count for fault in kinds[kind]),
            "first": [str(fault) for fault in kinds[kind][:_LISTED_FAULTS]],
        }
        for kind in order
    ]

"""Writes scenes as a data set.

Each scene has random numbers of its own, from (seed, split, number): the first ten scenes of a hundred are those of a
run with ten, and the same call writes the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import cv2
import numpy as np

from ghostyolo.data.formats.write import check_layout, image_folder, make_empty_folder, write_annotations
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.data.scenes.digits import CLASS_NAMES, draw_digits
from ghostyolo.data.scenes.draw import draw_scene
from ghostyolo.data.scenes.kinds import kinds_without
from ghostyolo.data.scenes.patches import Scene
from ghostyolo.errors import ConfigError, OutputError
from ghostyolo.extras import require
from ghostyolo.files import atomic_path

Of = Literal["objects", "digits"]
_MIN_SIDE, _MAX_SIDE = 64, 4096


def generate_scenes(
    out: str | os.PathLike[str],
    *,
    of: Of = "objects",
    train: int = 1000,
    val: int = 200,
    imgsz: int = 320,
    layout: str = "yolo",
    seed: int = 0,
    without: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> DetectionData:
    """Write a data set of scenes.

    Args:
        out: a new or empty folder.
        of: what is seen: ``"objects"`` of hundreds of kinds, or handwritten ``"digits"``.
        train, val: number of scenes in each split; a split of 0 is not written.
        imgsz: side of the square scenes in pixels.
        layout: ``"yolo"``, ``"coco"`` or ``"voc"``.
        seed: same seed, same bytes.
        without: ingredients of objects that are left out, of ``INGREDIENTS``.
        progress: called with (scenes done, scenes in all).

    Returns:
        The data set as written.

    Raises:
        MissingExtraError: scikit-learn or scikit-image is not installed.
        ConfigError: an impossible number, an unknown layout or ingredient.
        OutputError: the folder is not empty or cannot be written.
    """
    require("scenes", "data scenes")
    check_layout(layout)
    if train < 0 or val < 0 or train + val == 0:
        raise ConfigError(f"train and val need at least 1 scene together, none negative: got {train} and {val}")
    if not _MIN_SIDE <= imgsz <= _MAX_SIDE:
        raise ConfigError(f"imgsz must be {_MIN_SIDE} to {_MAX_SIDE} pixels, got {imgsz}")
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, got {seed}")
    names, draw, figures = _drawing(of, without)
    out = make_empty_folder(out)
    splits: dict[str, list[ImageRecord]] = {}
    done = 0
    for split, count in (("train", train), ("val", val)):
        if count == 0:
            continue
        splits[split] = []
        folder = image_folder(out, layout, split)
        for number in range(count):
            scene = draw(split, number, imgsz, seed)
            path = folder / f"{split}_{number:0{figures}d}.jpg"
            quality = 95 if of == "digits" else int(np.random.default_rng([seed, 6, number]).integers(55, 96))
            with atomic_path(path) as temporary:
                bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
                if not cv2.imwrite(str(temporary), bgr, [cv2.IMWRITE_JPEG_QUALITY, quality]):
                    raise OutputError(f"cannot write {path}; free some space or choose another place")
            ignore = np.zeros(len(scene.labels), np.bool_)
            splits[split].append(ImageRecord(path, imgsz, imgsz, scene.boxes_xyxy, scene.labels, ignore, number))
            done += 1
            if progress is not None:
                progress(done, train + val)
    write_annotations(out, layout, names, splits)
    return DetectionData(out, layout, names, splits)


def _drawing(of: str, without: Sequence[str]) -> tuple[list[str], Callable[[str, int, int, int], Scene], int]:
    """Names of classes, what draws (split, number, imgsz, seed), and figures of a number in a file's name."""
    if of == "digits":
        if without:
            raise ConfigError("scenes of digits have no ingredients to leave out: remove 'without'")
        return list(CLASS_NAMES), draw_digits, 5
    if of != "objects":
        raise ConfigError(f"scenes are of 'objects' or 'digits', not of {of!r}")
    kinds = kinds_without(without)
    return [kind.name for kind in kinds], partial(draw_scene, kinds), 6

"""A picture for each shipped weights file: one that ships beside them, and two that are drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import ghostyolo
from ghostyolo.data.images import read_image

Picture = np.ndarray


def digits() -> Picture:
    return read_image(Path(ghostyolo.__file__).parent / "assets" / "pictures" / "digits-1.jpg", 3)


def cells() -> Picture:
    """Red cells with a pale middle, and a large violet one."""
    places = np.random.RandomState(0)
    picture = np.full((480, 640, 3), (225, 215, 220), np.uint8)
    for _ in range(14):
        middle = tuple(int(value) for value in places.randint(60, [580, 420]))
        radius = int(places.randint(38, 48))
        cv2.circle(picture, middle, radius, (222, 160, 165), -1, cv2.LINE_AA)
        cv2.circle(picture, middle, radius // 3, (230, 190, 190), -1, cv2.LINE_AA)
    cv2.circle(picture, (320, 240), 80, (120, 80, 150), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (7, 7), 2)


def steel() -> Picture:
    """Grey noise with three bright scratches and dark pits."""
    noise = np.random.RandomState(0)
    picture = cv2.GaussianBlur(noise.normal(120, 8, (200, 200)).clip(0, 255).astype(np.uint8), (3, 3), 1)
    for x in (40, 90, 150):
        cv2.line(picture, (x, 10), (x + 6, 190), 230, 3, cv2.LINE_AA)
    for _ in range(30):
        cv2.circle(picture, tuple(int(value) for value in noise.randint(0, 200, 2)), 3, 40, -1)
    return np.repeat(picture[:, :, None], 3, 2)


PICTURES = {"digits": digits, "bccd": cells, "neu-det": steel}

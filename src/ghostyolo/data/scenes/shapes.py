"""Plane shapes, with a filling: polygons, stars, rings, hearts, arrows, gears, spirals, waves, blobs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.scenes.patches import SIDE, Patch, Plane, cut, polygon, to_plane

Outline = Callable[[np.random.Generator], npt.NDArray[np.floating]]
Draw = Callable[[np.random.Generator], Patch]


def _circle(count: int = 64) -> npt.NDArray[np.floating]:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _regular(corners: int, rng: np.random.Generator) -> npt.NDArray[np.floating]:
    return _circle(corners)


def _star(points: int, rng: np.random.Generator) -> npt.NDArray[np.floating]:
    radii = np.tile([1.0, rng.uniform(0.3, 0.6)], points)
    return _circle(2 * points) * radii[:, None]


def _ellipse(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    return _circle() * [1, rng.uniform(0.3, 0.75)]


def _box(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    height = rng.uniform(0.15, 0.7)
    return np.array([[-1, -height], [1, -height], [1, height], [-1, height]])


def _rounded(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    circle, power = _circle(), rng.uniform(0.3, 0.6)
    return np.sign(circle) * np.abs(circle) ** power * [1, rng.uniform(0.5, 1)]


def _heart(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    t = np.linspace(0, 2 * np.pi, 64)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], 1) / 17


def _arrow(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    stem, neck, wing = rng.uniform(0.12, 0.3), rng.uniform(-0.1, 0.4), rng.uniform(0.45, 0.8)
    upper = np.array([[-1, -stem], [neck, -stem], [neck, -wing], [1, 0]])
    return np.concatenate([upper, upper[-2::-1] * [1, -1]])


def _cross(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    arm = rng.uniform(0.15, 0.4)
    corner = np.array([[arm, -arm], [arm, -1], [-arm, -1]])
    turns = [np.array([[0, 1], [-1, 0]])] * 4
    points, part = [], corner
    for turn in turns:
        points.append(part)
        part = part @ turn
    return np.concatenate(points)


def _gear(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    teeth = int(rng.integers(7, 14))
    radii = np.tile([1.0, 1.0, 0.78, 0.78], teeth)
    return _circle(4 * teeth) * radii[:, None]


def _bracket(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    thick, reach = rng.uniform(0.3, 0.6), rng.uniform(0.5, 1)
    return np.array([[-1, -1], [-1 + thick, -1], [-1 + thick, 1 - thick], [reach, 1 - thick], [reach, 1], [-1, 1]])


def _tee(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    thick, stem = rng.uniform(0.3, 0.6), rng.uniform(0.12, 0.3)
    return np.array(
        [
            [-1, -1],
            [1, -1],
            [1, -1 + thick],
            [stem, -1 + thick],
            [stem, 1],
            [-stem, 1],
            [-stem, -1 + thick],
            [-1, -1 + thick],
        ]
    )


def _sector(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    angles = np.linspace(0, rng.uniform(0.5, 1.6) * np.pi, 40)
    return np.concatenate([[[0, 0]], np.stack([np.cos(angles), np.sin(angles)], 1)])


def _crescent(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    angles = np.linspace(-0.7 * np.pi, 0.7 * np.pi, 40)
    outer = np.stack([np.cos(angles), np.sin(angles)], 1)
    bulge = rng.uniform(0.2, 0.6)
    ends = np.linspace(outer[-1, 1], outer[0, 1], 40)
    inner = np.stack([outer[0, 0] + bulge * np.cos(np.linspace(np.pi / 2, -np.pi / 2, 40)), ends], 1)
    return np.concatenate([outer, inner])


def _drop(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    t = np.linspace(0, 2 * np.pi, 64)
    return np.stack([-np.cos(t), np.sin(t) * np.sin(t / 2) ** rng.uniform(1.2, 2.5)], 1)


def _flower(petals: int, rng: np.random.Generator) -> npt.NDArray[np.floating]:
    t = np.linspace(0, 2 * np.pi, 160, endpoint=False)
    depth = rng.uniform(0.25, 0.6)
    return _circle(160) * (1 - depth * (0.5 + 0.5 * np.cos(petals * t)))[:, None]


def blob_outline(lobes: int, rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """Return a random blob's outline (96, 2), within a circle of radius 1."""
    t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.ones_like(t)
    for harmonic in range(2, lobes + 1):
        radius += rng.normal(0, 0.28 / harmonic**0.7) * np.cos(harmonic * t + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.25, None)
    return _circle(96) * (radius / radius.max())[:, None]


def _stroke(line: Outline, rng: np.random.Generator) -> Patch:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    pixels = np.rint((line(rng) * 0.42 + 0.5) * SIDE * 256).astype(np.int32)
    cv2.polylines(canvas, [pixels], False, 255, int(rng.integers(3, 12)), cv2.LINE_AA, 8)
    return cut(canvas)


def _wave(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    x = np.linspace(-1, 1, 80)
    return np.stack([x, rng.uniform(0.15, 0.5) * np.sin(x * np.pi * rng.uniform(1.5, 4))], 1)


def _zigzag(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    count = int(rng.integers(4, 9))
    height = rng.uniform(0.15, 0.5)
    return np.stack([np.linspace(-1, 1, count), height * (-1.0) ** np.arange(count)], 1)


def _spiral(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    t = np.linspace(0.1, rng.uniform(2, 4) * 2 * np.pi, 160)
    return np.stack([np.cos(t), np.sin(t)], 1) * (t / t[-1])[:, None]


def _arc(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    angles = np.linspace(0, rng.uniform(0.6, 1.5) * np.pi, 40)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _knot(rng: np.random.Generator) -> npt.NDArray[np.floating]:
    t = np.linspace(0, 2 * np.pi, 160)
    a, b = rng.choice([[1, 2], [2, 3], [3, 2], [3, 4]])
    return np.stack([np.sin(a * t + rng.uniform(0, 1)), np.sin(b * t)], 1)


def grain(rng: np.random.Generator, kind: str, side: int = SIDE) -> Plane:
    """A filling of one of the kinds ``GRAINS``."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 16)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    if kind == "stripes":
        return to_plane(0.5 + 0.5 * np.sin(2 * np.pi * period * along))
    if kind == "checks":
        return to_plane(((np.floor(along * period) + np.floor(across * period)) % 2).astype(np.float32))
    if kind == "dots":
        return to_plane((np.sin(np.pi * period * along) * np.sin(np.pi * period * across) > 0.5).astype(np.float32))
    if kind == "rings":
        distance = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8))
        return to_plane(0.5 + 0.5 * np.sin(2 * np.pi * period * distance))
    if kind == "clouds":
        total = np.zeros((side, side), np.float32)
        for octave in range(4):
            noise = rng.random((2 + 3 * 2**octave,) * 2, np.float32)
            total += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC) / 1.6**octave
        return to_plane((total - total.min()) / np.ptp(total))
    if kind == "cells":
        seeds = rng.random((int(rng.integers(8, 30)), 2)).astype(np.float32)
        distances = np.hypot(x[..., None] - seeds[:, 0], y[..., None] - seeds[:, 1])
        first, second = np.partition(distances, 1, axis=-1)[..., :2].transpose(2, 0, 1)
        return to_plane(np.clip((second - first) * 12, 0, 1))
    if kind == "gradient":
        return to_plane((along - along.min()) / np.ptp(along))
    if kind == "bulge":
        centre = rng.uniform(0.35, 0.65, 2)
        return to_plane(np.clip(np.hypot(x - centre[0], y - centre[1]) * 1.6, 0, 1))
    return np.zeros((side, side), np.uint8)


GRAINS = ("stripes", "checks", "dots", "rings", "clouds", "cells", "gradient", "bulge", "plain")


def _filled(outline: Outline, rng: np.random.Generator) -> Patch:
    opacity = polygon(outline(rng))
    shade = grain(rng, "plain" if rng.random() < 0.35 else str(rng.choice(GRAINS)))
    if rng.random() < 0.25:  # a rim of the second colour
        inner = cv2.erode(opacity, None, iterations=int(rng.integers(2, 6)), borderValue=0)
        shade = np.maximum(shade, 255 - inner)
    elif rng.random() < 0.2:  # only the rim
        opacity = opacity - cv2.erode(opacity, None, iterations=int(rng.integers(3, 9)), borderValue=0)
    return cut(opacity, shade)


def _ring(rng: np.random.Generator) -> Patch:
    hole = rng.uniform(0.3, 0.85)
    opacity = polygon(_circle()) - polygon(_circle() * hole)
    return cut(opacity, grain(rng, str(rng.choice(GRAINS))))


def _grained(kind: str, rng: np.random.Generator) -> Patch:
    return cut(polygon(blob_outline(int(rng.integers(2, 7)), rng)), grain(rng, kind))


_OUTLINES: dict[str, Outline] = {
    **{f"polygon of {corners}": partial(_regular, corners) for corners in range(3, 9)},
    **{f"star of {points}": partial(_star, points) for points in range(4, 9)},
    **{f"flower of {petals}": partial(_flower, petals) for petals in range(3, 8)},
    "disc": lambda rng: _circle(),
    "ellipse": _ellipse,
    "box": _box,
    "rounded box": _rounded,
    "heart": _heart,
    "arrow": _arrow,
    "cross": _cross,
    "gear": _gear,
    "bracket": _bracket,
    "tee": _tee,
    "sector": _sector,
    "crescent": _crescent,
    "drop": _drop,
}
_LINES: dict[str, Outline] = {
    "wave": _wave,
    "zigzag": _zigzag,
    "spiral": _spiral,
    "arc": _arc,
    "knot": _knot,
}

SHAPES: dict[str, Draw] = {
    **{name: partial(_filled, outline) for name, outline in _OUTLINES.items()},
    **{name: partial(_stroke, line) for name, line in _LINES.items()},
    "ring": _ring,
}
BLOBS: dict[str, Draw] = {
    **{f"blob of {lobes}": partial(_filled, partial(blob_outline, lobes)) for lobes in (2, 3, 5, 8, 12)},
    **{f"blob with {kind}": partial(_grained, kind) for kind in GRAINS[:6]},
}

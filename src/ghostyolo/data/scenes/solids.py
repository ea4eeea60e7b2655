"""Shaded solids, seen from any side.

Spheres, Platonic solids, prisms, pyramids, cones, cylinders, rings, rocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.scenes.patches import SIDE, Patch, cut, to_plane
from ghostyolo.data.scenes.shapes import Draw

Points = npt.NDArray[np.floating]
_GOLDEN = (1 + 5**0.5) / 2


def _turned(rng: np.random.Generator) -> Points:
    """A random rotation (3, 3)."""
    matrix, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def _light(rng: np.random.Generator) -> Points:
    light = np.array([*rng.uniform(-0.8, 0.8, 2), 1.0])
    return light / np.linalg.norm(light)


def _sphere(rng: np.random.Generator) -> Patch:
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE * 2.1 - 1.05
    square = x**2 + y**2
    z = np.sqrt(np.clip(1 - square, 0, 1))
    lit = np.clip(np.tensordot(_light(rng), np.stack([x, y, z]), 1), 0, 1)
    gloss = rng.uniform(0, 0.6) * lit ** rng.uniform(10, 60)
    opacity = np.clip((1 - np.sqrt(square)) * SIDE / 2.1 + 0.5, 0, 1)
    return cut(to_plane(opacity), to_plane(np.clip(rng.uniform(0.1, 0.4) + 0.7 * lit + gloss, 0, 1)))


def _hull(vertices: Callable[[np.random.Generator], Points], rng: np.random.Generator) -> Patch:
    """A convex solid from its corners."""
    from scipy.spatial import ConvexHull

    points = vertices(rng)
    points = (points - points.mean(0)) @ _turned(rng).T
    points /= np.abs(points).max() * 1.08
    hull = ConvexHull(points)
    opacity, shade, light = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8), _light(rng)
    ambient = rng.uniform(0.1, 0.35)
    for corners, plane in zip(hull.simplices, hull.equations, strict=True):
        normal = plane[:3]
        if normal[2] <= 0:
            continue
        pixels = np.rint((points[corners, :2] * 0.5 + 0.5) * SIDE * 256).astype(np.int32)
        value = round(255 * min(1.0, ambient + 0.75 * max(0.0, float(normal @ light))))
        cv2.fillConvexPoly(opacity, pixels, 255, cv2.LINE_AA, 8)
        cv2.fillConvexPoly(shade, pixels, value, cv2.LINE_AA, 8)
    return cut(opacity, shade)


def _ring(rng: np.random.Generator) -> Patch:
    thickness, turn, light = rng.uniform(0.2, 0.4), _turned(rng), _light(rng)
    u, v = np.meshgrid(*[np.linspace(0, 2 * np.pi, count) for count in (29, 15)], indexing="ij")
    normals = np.stack([np.cos(u) * np.cos(v), np.sin(u) * np.cos(v), np.sin(v)], -1) @ turn.T
    centres = np.stack([np.cos(u), np.sin(u), 0 * u], -1) @ turn.T
    points = (centres + thickness * normals) / (1 + thickness) * 0.94
    opacity, shade = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    pixels = np.rint((points[..., :2] * 0.5 + 0.5) * SIDE * 256).astype(np.int32)
    values = np.rint(255 * np.clip(0.2 + 0.75 * normals @ light, 0, 1)).astype(int)
    depth = points[:-1, :-1, 2]
    for place in np.argsort(depth, axis=None):
        i, j = np.unravel_index(place, depth.shape)
        quad = pixels[[i, i + 1, i + 1, i], [j, j, j + 1, j + 1]]
        cv2.fillConvexPoly(opacity, quad, 255, cv2.LINE_8, 8)
        cv2.fillConvexPoly(shade, quad, int(values[i, j]), cv2.LINE_8, 8)
    return cut(cv2.GaussianBlur(opacity, (3, 3), 0), shade)


def _signs(*values: float) -> Points:
    """All corners (+-a, +-b, +-c)."""
    return np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * values


def _around(values: Points) -> Points:
    """The points and those of their coordinates in turn."""
    return np.concatenate([np.roll(values, shift, 1) for shift in range(3)])


def _cuboid(rng: np.random.Generator) -> Points:
    return _signs(1, *rng.uniform(0.25, 1, 2))


def _cube(rng: np.random.Generator) -> Points:
    return _signs(1, 1, 1)


def _tetrahedron(rng: np.random.Generator) -> Points:
    return np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])


def _octahedron(rng: np.random.Generator) -> Points:
    return np.concatenate([np.eye(3), -np.eye(3)])


def _icosahedron(rng: np.random.Generator) -> Points:
    return _around(np.array([[0, a, b * _GOLDEN] for a in (-1, 1) for b in (-1, 1)]))


def _dodecahedron(rng: np.random.Generator) -> Points:
    edges = np.array([[0, a / _GOLDEN, b * _GOLDEN] for a in (-1, 1) for b in (-1, 1)])
    return np.concatenate([_signs(1, 1, 1), _around(edges)])


def _lathe(sides: int, top: float, rng: np.random.Generator) -> Points:
    """A prism, or with a narrower top a pyramid."""
    angles = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    base = np.stack([np.cos(angles), np.sin(angles), np.zeros(sides)], 1)
    height = rng.uniform(0.6, 2.6)
    return np.concatenate([base, base * [top, top, 0] + [0, 0, height]])


def _lathe_of_any_top(rng: np.random.Generator) -> Points:
    return _lathe(24, float(rng.uniform(0.3, 0.8)), rng)


def _rock(rng: np.random.Generator) -> Points:
    return rng.standard_normal((14, 3)) * rng.uniform(0.4, 1, 3)


def _capsule(rng: np.random.Generator) -> Points:
    points = rng.standard_normal((160, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points + np.sign(points[:, 2:]) * [0, 0, rng.uniform(0.4, 1.6)]


def _egg(rng: np.random.Generator) -> Points:
    points = rng.standard_normal((200, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points * [1, 1, rng.uniform(1.2, 1.8)] * (1 + 0.2 * points[:, 2:])


_CORNERS: dict[str, Callable[[np.random.Generator], Points]] = {
    "cube": _cube,
    "cuboid": _cuboid,
    "tetrahedron": _tetrahedron,
    "octahedron": _octahedron,
    "dodecahedron": _dodecahedron,
    "icosahedron": _icosahedron,
    "prism": partial(_lathe, 3, 1.0),
    "six-sided prism": partial(_lathe, 6, 1.0),
    "pyramid": partial(_lathe, 4, 0.01),
    "cone": partial(_lathe, 24, 0.01),
    "cylinder": partial(_lathe, 24, 1.0),
    "cup": _lathe_of_any_top,
    "rock": _rock,
    "capsule": _capsule,
    "egg": _egg,
}
SOLIDS: dict[str, Draw] = {
    "sphere": _sphere,
    "solid ring": _ring,
    **{name: partial(_hull, corners) for name, corners in _CORNERS.items()},
}

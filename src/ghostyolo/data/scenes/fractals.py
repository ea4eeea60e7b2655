"""Fractals: attractors of random affine maps, and branching plants.

One set of maps for each kind.

Source of the attractors: Barnsley, "Fractals Everywhere", the chaos game; that detectors and classifiers can be
pretrained on them: Kataoka et al., 2020, "Pre-training without Natural Images".
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.scenes.patches import SIDE, Patch, cut, to_plane
from ghostyolo.data.scenes.shapes import Draw

ATTRACTORS = 60
_WALKERS, _STEPS, _BURNED = 600, 36, 12


def _maps(number: int, attempt: int) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Contracting maps (n, 2, 2) and their shifts (n, 2)."""
    rng = np.random.default_rng([7, number, attempt])
    count = int(rng.integers(2, 5))
    turns = rng.uniform(0, 2 * np.pi, (count, 2))
    sizes = rng.uniform(0.25, 0.85, (count, 2))
    signs = np.where(rng.random(count) < 0.3, -1.0, 1.0)

    def rotation(angle: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(-1, 2, 2)

    scales = np.zeros((count, 2, 2))
    scales[:, 0, 0], scales[:, 1, 1] = sizes[:, 0], sizes[:, 1] * signs
    return rotation(turns[:, 0]) @ scales @ rotation(turns[:, 1]), rng.uniform(-1, 1, (count, 2))


def _attractor(number: int, rng: np.random.Generator) -> Patch:
    for attempt in range(20):
        matrices, shifts = _maps(number, attempt)
        matrices = matrices * (1 + rng.normal(0, 0.03, matrices.shape))  # no two of a kind are quite alike
        points, seen = np.zeros((_WALKERS, 2)), []
        weights = np.abs(np.linalg.det(matrices)) + 0.05
        choices = rng.choice(len(shifts), (_STEPS, _WALKERS), p=weights / weights.sum())
        for step, choice in enumerate(choices):
            points = np.einsum("nij,nj->ni", matrices[choice], points) + shifts[choice]
            if step >= _BURNED:
                seen.append(points)
        cloud = np.concatenate(seen)
        low, high = np.percentile(cloud, [0.5, 99.5], axis=0)
        pixels = ((cloud - low) / max((high - low).max(), 1e-6) * (SIDE - 12) + 6).astype(int)
        inside = ((pixels >= 0) & (pixels < SIDE)).all(1)
        hits = np.zeros((SIDE, SIDE), np.float32)
        np.add.at(hits, (pixels[inside, 1], pixels[inside, 0]), 1)
        if (hits > 0).mean() > 0.05 and min(high - low) > 0.25 * max(high - low):
            break
    density = cv2.GaussianBlur(hits, (0, 0), 1.0)
    opacity = np.clip(density / 0.45, 0, 1)
    shade = np.log1p(density)
    return cut(to_plane(opacity), to_plane(shade / shade.max()))


def _plant(forks: int, rng: np.random.Generator) -> Patch:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    spread, shrink = rng.uniform(0.3, 0.7), rng.uniform(0.62, 0.76)
    branches = [(SIDE / 2, SIDE - 2.0, -np.pi / 2, SIDE * 0.3, rng.uniform(4, 8))]
    for _ in range(5 if forks == 2 else 4):
        grown = []
        for x, y, angle, length, thickness in branches:
            end_x, end_y = x + length * np.cos(angle), y + length * np.sin(angle)
            ends = np.rint(np.array([[x, y], [end_x, end_y]]) * 16).astype(int)
            cv2.line(
                canvas,
                tuple(map(int, ends[0])),
                tuple(map(int, ends[1])),
                255,
                max(1, round(thickness)),
                cv2.LINE_AA,
                4,
            )
            for fork in np.linspace(-1, 1, forks):
                turn = spread * fork + rng.normal(0, 0.12)
                grown.append((end_x, end_y, angle + turn, length * shrink, thickness * 0.65))
        branches = grown
    return cut(canvas)


FRACTALS: dict[str, Draw] = {
    **{f"attractor {number}": partial(_attractor, number) for number in range(ATTRACTORS)},
    "plant of 2": partial(_plant, 2),
    "plant of 3": partial(_plant, 3),
}

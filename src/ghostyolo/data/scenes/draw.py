"""One scene: a background, objects at any scale, a camera's effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.scenes.backgrounds import draw_background
from ghostyolo.data.scenes.kinds import VARIANTS, Kind, drawing
from ghostyolo.data.scenes.patches import SPLIT_NUMBER, Patch, Plane, Scene
from ghostyolo.data.scenes.shapes import GRAINS, grain

_SMALLEST = 4.0  # pixels of an object's longer side
_READABLE = 9.0  # the least of one that has an upper side: smaller, its kind cannot be told
_LEAST_VISIBLE = 0.4  # an object is not put where less of another would be left
_VAL_VARIANTS = 2


@dataclass(frozen=True)
class _Placed:
    label: int
    pixels: int  # that can be seen when nothing covers it


def draw_scene(kinds: Sequence[Kind], split: str, number: int, side: int, seed: int) -> Scene:
    """Draw one scene.

    Args:
        kinds: of objects; labels are positions in it.
        split: ``"train"`` or ``"val"``: which drawings and which parts of photographs may appear.
        number: which scene of the split, from 0.
        side: in pixels.
        seed: of the whole data set.
    """
    rng = np.random.default_rng([seed, 5, SPLIT_NUMBER[split], number])
    canvas = _background(rng, side, split)
    owner = np.full((side, side), -1, np.int16)  # the object that each pixel shows
    placed: list[_Placed] = []
    for label, centre, size, look in _plan(rng, kinds, side):
        patch = drawing(kinds[label], _variant(rng, split))
        _place(rng, canvas, owner, placed, _posed(rng, patch, size, kinds[label].upright), label, centre, look)
    boxes, labels = _visible(owner, placed)
    return Scene(_photographed(rng, canvas), boxes, labels)


def _variant(rng: np.random.Generator, split: str) -> int:
    first = VARIANTS - _VAL_VARIANTS
    return int(rng.integers(first, VARIANTS) if split == "val" else rng.integers(first))


Look = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
Planned = tuple[int, tuple[float, float], float, Look | None]


def _plan(rng: np.random.Generator, kinds: Sequence[Kind], side: int) -> list[Planned]:
    """What to draw: label, centre, longer side in pixels, and the two colours where a group shares them."""

    def some_kind() -> int:
        # An ingredient first, so that the many signs do not crowd out the few solids.
        ingredients = sorted({kind.ingredient for kind in kinds})
        chosen = ingredients[int(rng.integers(len(ingredients)))]
        own = [label for label, kind in enumerate(kinds) if kind.ingredient == chosen]
        return own[int(rng.integers(len(own)))]

    def size_of(label: int, largest: float = 1.0) -> float:
        least = _READABLE if kinds[label].upright else _SMALLEST
        return float(np.exp(rng.uniform(np.log(least), np.log(max(largest * side, 1.5 * least)))))

    def anywhere() -> tuple[float, float]:
        return float(rng.uniform(0, side)), float(rng.uniform(0, side))

    plan: list[Planned] = []
    for _ in range(int(rng.integers(0, 7))):
        label = some_kind()
        plan.append((label, anywhere(), size_of(label), None))
    mode = rng.random()
    if mode < 0.35:  # a crowd of one or two kinds
        crowd = [some_kind() for _ in range(int(rng.integers(1, 3)))]
        size, look = size_of(crowd[0], 0.25), _colours(rng) if rng.random() < 0.7 else None
        for _ in range(int(rng.integers(5, 31))):
            label = crowd[int(rng.integers(len(crowd)))]
            plan.append((label, anywhere(), max(size * rng.uniform(0.6, 1.5), _SMALLEST), look))
    elif mode < 0.5:  # a row, as of letters
        size, look = size_of(some_kind(), 0.3), _colours(rng)
        x, y, angle = *anywhere(), rng.uniform(-0.5, 0.5)
        for _ in range(int(rng.integers(3, 9))):
            plan.append((some_kind(), (x, y), max(size, _READABLE), look))
            x, y = x + np.cos(angle) * size * 1.15, y + np.sin(angle) * size * 1.15
    plan.sort(key=lambda one: -one[2])  # the large first, so that they do not hide the small
    return plan


def _colours(rng: np.random.Generator) -> Look:
    """Two colours, near each other or far apart."""
    first = rng.uniform(0, 255, 3)
    second = first + rng.normal(0, 25, 3) if rng.random() < 0.3 else rng.uniform(0, 255, 3)
    return first.astype(np.float32), np.clip(second, 0, 255).astype(np.float32)


def _posed(rng: np.random.Generator, patch: Patch, size: float, upright: bool) -> Patch:
    """Turn, stretch, mirror and resize a drawing so that its longer side is about ``size`` pixels."""
    height, width = patch.opacity.shape
    stretch = np.exp(rng.uniform(-0.3, 0.3))
    angle = rng.normal(0, 0.2) if upright else rng.uniform(0, 2 * np.pi)
    mirror = -1.0 if not upright and rng.random() < 0.5 else 1.0
    scale = size / max(height, width * stretch)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([scale * stretch * mirror, scale])
    reach = np.abs(linear) @ [width, height]
    new_width, new_height = (max(2, int(np.ceil(side)) + 2) for side in reach)
    opacity, shade = patch.opacity, patch.shade
    if scale < 0.6:  # shrunk by area first: a warp alone looks at four pixels
        shrink = max(scale * 1.2, 0.03)
        smaller = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        opacity = cv2.resize(opacity, smaller, interpolation=cv2.INTER_AREA)
        shade = cv2.resize(shade, smaller, interpolation=cv2.INTER_AREA)
        linear = linear @ np.diag([width / smaller[0], height / smaller[1]])
        width, height = smaller
    shift = np.array([new_width, new_height]) / 2 - linear @ [(width - 1) / 2, (height - 1) / 2] - 0.5
    matrix = np.column_stack([linear, shift])
    return Patch(
        cv2.warpAffine(opacity, matrix, (new_width, new_height)),
        cv2.warpAffine(shade, matrix, (new_width, new_height), borderMode=cv2.BORDER_REPLICATE),
    )


def _place(
    rng: np.random.Generator,
    canvas: npt.NDArray[np.float32],
    owner: npt.NDArray[np.int16],
    placed: list[_Placed],
    patch: Patch,
    label: int,
    centre: tuple[float, float],
    look: Look | None,
) -> None:
    """Blend a patch into the canvas, in place, unless it would hide too much or be cut too much by the border."""
    side = len(canvas)
    height, width = patch.opacity.shape
    left, top = round(centre[0] - width / 2), round(centre[1] - height / 2)
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + width, side), min(top + height, side)
    if x1 >= x2 or y1 >= y2:
        return
    window = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
    opacity = patch.opacity[window]
    seen = opacity > 96
    pixels = int(seen.sum())
    if pixels < 6 or pixels < 0.5 * (patch.opacity > 96).sum():
        return
    region = owner[y1:y2, x1:x2]
    hidden = np.bincount(region[seen] + 1, minlength=len(placed) + 1)[1:]
    for number in np.flatnonzero(hidden):
        left_over = int((owner == number).sum()) - hidden[number]
        if left_over < max(_LEAST_VISIBLE * placed[number].pixels, 6):
            return
    under = canvas[y1:y2, x1:x2]
    shade = patch.shade[window]
    if shade.ndim == 3:
        colours = shade.astype(np.float32)
    else:
        first, second = look if look is not None else _seen_against(rng, under, seen)
        colours = first + (second - first) * (shade[..., None] / np.float32(255))
    alpha = opacity[..., None] * np.float32(rng.uniform(0.85, 1.0) / 255)
    under += alpha * (colours - under)
    region[seen] = len(placed)
    placed.append(_Placed(label, pixels))


def _seen_against(rng: np.random.Generator, under: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_]) -> Look:
    """Two colours of which the first differs from what lies under it by at least 25 grey levels, in grey too."""
    ground = under[seen].mean(0)
    first, second = _colours(rng)
    for _ in range(4):
        if abs((first - ground).mean()) >= 25:
            break
        first = rng.uniform(0, 255, 3).astype(np.float32)
    return first, second


def _visible(
    owner: npt.NDArray[np.int16], placed: Sequence[_Placed]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    boxes = []
    for number in range(len(placed)):
        left, top, width, height = cv2.boundingRect((owner == number).astype(np.uint8))
        boxes.append((left, top, left + width, top + height))
    labels = np.array([one.label for one in placed], np.int64)
    return np.array(boxes, np.float32).reshape(-1, 4), labels


def _background(rng: np.random.Generator, side: int, split: str) -> npt.NDArray[np.float32]:
    if rng.random() < 0.55:
        return draw_background(rng, side, split)
    pattern: Plane = cv2.resize(grain(rng, str(rng.choice(GRAINS))), (side, side), interpolation=cv2.INTER_LINEAR)
    first, second = _colours(rng)
    second = first + (second - first) * np.float32(rng.uniform(0.1, 0.7))
    return np.asarray(first + (second - first) * (pattern[..., None] / np.float32(255)), np.float32)


def _photographed(rng: np.random.Generator, canvas: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Light from one side, shadows, blur of lens or movement, grey or tinted, noise. Boxes stay where they are."""
    side = len(canvas)
    if rng.random() < 0.5:
        along = np.linspace(-0.5, 0.5, side, dtype=np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        slope = np.cos(angle) * along[None, :] + np.sin(angle) * along[:, None]
        canvas = canvas * (rng.uniform(0.6, 1.15) * (1 + rng.uniform(0, 0.8) * slope))[..., None].astype(np.float32)
    chance = rng.random()
    if chance < 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 1.1))
    elif chance < 0.4:
        kernel = np.zeros((5, 5), np.float32)
        reach = rng.integers(1, 3)
        step = (int(reach), 0) if rng.random() < 0.5 else (0, int(reach))
        cv2.line(kernel, (2 - step[0], 2 - step[1]), (2 + step[0], 2 + step[1]), 1.0)
        canvas = cv2.filter2D(canvas, -1, kernel / kernel.sum())
    if rng.random() < 0.2:
        canvas = np.repeat(canvas.mean(2, keepdims=True), 3, axis=2)
    noise = rng.standard_normal((side, side, 1 if rng.random() < 0.5 else 3), np.float32)
    canvas = canvas + noise * np.float32(rng.uniform(0, 1) ** 2 * 16)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)

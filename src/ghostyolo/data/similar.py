"""Find pictures that belong together: near-duplicates, augmented copies, frames of one video.

A picture's look is a grey thumbnail of 16 x 16, without its mean and of length 1; the distance of two is one minus
their correlation: 0 for the same picture in another size, brightness or compression, about 1 for pictures that have
nothing to do with each other. How far apart pictures of a data set usually are decides what is near in it: those of
one fixed camera are all alike. No torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.images import read_image
from ghostyolo.errors import DataError

Looks = npt.NDArray[np.float32]
_SIDE = 16
# Two pictures no further apart than this are copies; and than this share of the usual distance.
_COPY, _COPY_SHARE = 0.02, 0.1
# Frames that follow each other are nearer than this share of their sequence's usual distance.
_NEAR = 0.5
# A sequence is a video where this share of its neighbours is near, so many times the share of any of its pairs.
_FRAMES, _OVER_CHANCE = 0.2, 2.5
# A sequence whose usual distance is under this share of the data set's is one scene.
_ONE_SCENE = 0.25
_PAIRS = 4000
_ROWS = 512
# Roboflow's copies: name_jpg.rf.HASH.jpg.
_EXPORTED = re.compile(r"^(.*?)(?:_(?:jpe?g|png|bmp|webp|tiff?))?\.rf\.[0-9a-zA-Z]+$", re.IGNORECASE)
_NUMBERED = re.compile(r"^(.*?)(\d+)(\D*)$")


@dataclass(frozen=True)
class Groups:
    """Which pictures belong together.

    Attributes:
        of: (N,) int, the group of each picture, numbered from 0 in order of their first picture.
        copies: pictures that are a near-duplicate or an augmented copy of an earlier one.
        frames: pictures that follow another one of the same video.
        order: (N,) int, positions in the order of names, frames by their numbers.
    """

    of: npt.NDArray[np.int64]
    copies: int
    frames: int
    order: npt.NDArray[np.int64]


def group_pictures(paths: Sequence[Path]) -> Groups:
    """Group pictures that are copies of each other or frames of one video.

    Reads every picture once, and compares each with each; 10,000 take about a minute.

    Args:
        paths: of the pictures; those that cannot be read stand alone.
    """
    looks = read_looks(paths)
    usual = float(np.median(_random_distances(looks))) if len(paths) > 1 else 1.0
    joined = _Union(len(paths))
    copies = _join_named_copies(paths, joined) + _join_copies(looks, min(_COPY, _COPY_SHARE * usual), joined)
    frames = 0
    for sequence in _sequences(paths):
        near = _neighbours(looks, sequence, usual)
        for first, second in zip(sequence[:-1][near], sequence[1:][near], strict=True):
            frames += joined.join(int(first), int(second))
    order = sorted(range(len(paths)), key=lambda index: _name_key(paths[index]))
    return Groups(joined.groups(), copies, frames, np.asarray(order, np.int64))


def read_looks(paths: Sequence[Path]) -> Looks:
    """Return the look of each picture, (N, 16, 16).

    Zeros where one is plain or cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the interpreter's lock
        return np.stack(list(pool.map(_look, paths))) if paths else np.zeros((0, _SIDE, _SIDE), np.float32)


def _look(path: Path) -> Looks:
    try:
        data = path.read_bytes()
        # JPEG is decoded at an eighth of its size in a tenth of the time.
        reduced: npt.NDArray[Any] | None = None
        if data[:2] == b"\xff\xd8":
            reduced = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
        if reduced is None or min(reduced.shape) < _SIDE:
            if data[:6] == b"\x93NUMPY":
                reduced = np.load(path, allow_pickle=False).mean(axis=2)
            else:
                reduced = read_image(data, 1)[:, :, 0]
    except (OSError, ValueError, DataError, cv2.error):
        return np.zeros((_SIDE, _SIDE), np.float32)
    small = cv2.resize(reduced.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / length if length > _SIDE else np.zeros_like(small)  # less than a grey level: plain


def _distances(looks: Looks, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    flat = looks.reshape(len(looks), -1)
    return np.asarray(1 - np.einsum("nd,nd->n", flat[first], flat[second]))


def _random_distances(looks: Looks) -> npt.NDArray[np.float32]:
    """Distances of pairs of any two pictures."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, len(looks), _PAIRS)
    return _distances(looks, first, (first + rng.integers(1, len(looks), _PAIRS)) % len(looks))


def _neighbours(looks: Looks, sequence: npt.NDArray[np.int64], usual: float) -> npt.NDArray[np.bool_]:
    """Which of the pictures of a numbered sequence are followed by another frame of their video, (N - 1,)."""
    own = _random_distances(looks[sequence])
    distances = _distances(looks, sequence[:-1], sequence[1:])
    if np.median(own) < _ONE_SCENE * usual:
        return distances < _NEAR * usual
    limit = _NEAR * float(np.median(own))
    near, chance = distances < limit, float((own < limit).mean())
    # Pictures that are numbered but independent are as near to their neighbours as to any other.
    return near if near.mean() >= max(_FRAMES, _OVER_CHANCE * chance) else np.zeros(len(near), np.bool_)


def _join_named_copies(paths: Sequence[Path], joined: _Union) -> int:
    first: dict[str, int] = {}
    count = 0
    for index, path in enumerate(paths):
        match = _EXPORTED.match(path.stem)
        if match:
            count += joined.join(first.setdefault(match[1], index), index)
    return count


def _join_copies(looks: Looks, limit: float, joined: _Union) -> int:
    """Join pictures that are one after turning by quarters or mirroring."""
    flat = looks.reshape(len(looks), -1)
    count = 0
    for turned in _symmetries(looks):
        other = turned.reshape(len(looks), -1)
        for start in range(0, len(flat), _ROWS):
            near = flat[start : start + _ROWS] @ other[start:].T > 1 - limit
            for row, column in np.argwhere(near):
                if column > row:
                    count += joined.join(start + int(row), start + int(column))
    return count


def _symmetries(looks: Looks) -> list[Looks]:
    mirrored = looks[:, :, ::-1]
    return [np.rot90(pictures, turns, axes=(1, 2)) for pictures in (looks, mirrored) for turns in range(4)]


def _sequences(paths: Sequence[Path]) -> list[npt.NDArray[np.int64]]:
    """Pictures of one folder whose names differ in their last number alone, by that number."""
    runs: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for index, path in enumerate(paths):
        match = _NUMBERED.match(_plain_stem(path))
        if match:
            runs.setdefault((str(path.parent), match[1], match[3]), []).append((int(match[2]), index))
    return [np.array([index for _, index in sorted(run)], np.int64) for run in runs.values() if len(run) > 1]


def _name_key(path: Path) -> tuple[str, str, int, str]:
    match = _NUMBERED.match(_plain_stem(path))
    return (str(path.parent), match[1], int(match[2]), match[3]) if match else (str(path.parent), path.stem, 0, "")


def _plain_stem(path: Path) -> str:
    match = _EXPORTED.match(path.stem)
    return match[1] if match else path.stem


class _Union:
    """Joins numbers into groups."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def join(self, first: int, second: int) -> bool:
        """Join the groups of two; False where they were one."""
        one, other = sorted((self._root(first), self._root(second)))
        self._parent[other] = one
        return one != other

    def groups(self) -> npt.NDArray[np.int64]:
        """The group of each number, from 0 on."""
        roots = [self._root(index) for index in range(len(self._parent))]
        return np.unique(roots, return_inverse=True)[1].astype(np.int64) if roots else np.zeros(0, np.int64)

    def _root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

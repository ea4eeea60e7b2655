"""Anchors that fit the boxes of a data set.

k-means on box sizes, then a genetic search. No torch.

How well anchors fit a box is the best, over anchors, of the worst of width / anchor width, height / anchor height and
their inverses: 1 where an anchor has the box's size. A box is within reach where that is above 1/4, which is when an
anchor head has a match for it (:mod:`ghostyolo.losses.anchor_assigner`); recall is the share of such boxes. Sizes are
pixels of the training pictures. Source: the published procedure of YOLOv5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ghostyolo.data.letterbox import plan_letterbox
from ghostyolo.data.records import ImageRecord
from ghostyolo.errors import ConfigError, DataError

Sizes = npt.NDArray[np.float64]

LARGEST_RATIO = 4.0
_GENERATIONS = 1000
_SAMPLE = 10_000  # boxes that the search looks at; more change the anchors by less than the search does
_SMALLEST = 1.0  # pixels


def box_sizes(records: Sequence[ImageRecord], imgsz: int) -> Sizes:
    """Return width and height (N, 2) of boxes, in letterboxed pixels.

    Of all that have an area and are not to be ignored.
    """
    sizes = [np.zeros((0, 2))]
    for record in records:
        boxes = record.boxes_xyxy[~np.asarray(record.ignore, dtype=bool)].astype(np.float64).reshape(-1, 4)
        sizes.append((boxes[:, 2:] - boxes[:, :2]) * plan_letterbox(record.width, record.height, imgsz).scale)
    found = np.concatenate(sizes)
    return found[(found > 0).all(1)]


def anchor_recall(sizes: Sizes, anchors: npt.ArrayLike) -> float:
    """Fraction of boxes that an anchor is within reach of, 0..1.

    Args:
        sizes: (N, 2), N at least 1.
        anchors: (..., 2).
    """
    return float((_best_ratio(sizes, _flat(anchors)) > 1 / LARGEST_RATIO).mean())


def anchor_fitness(sizes: Sizes, anchors: npt.ArrayLike) -> float:
    """Return the mean over boxes of the best ratio to an anchor.

    It is 0 for boxes out of reach, 1 where every box has an anchor of its size.
    """
    best = _best_ratio(sizes, _flat(anchors))
    return float((best * (best > 1 / LARGEST_RATIO)).mean())


def fit_anchors(sizes: Sizes, *, count: int = 9, levels: int = 3, seed: int = 0) -> list[list[list[float]]]:
    """Anchors for boxes of these sizes.

    Args:
        sizes: (N, 2), N at least ``count``.
        count: anchors in all, a multiple of ``levels``.
        levels: of the head; the smallest anchors go to the first.
        seed: same seed, same anchors on one machine.

    Returns:
        One list a level of [width, height], to a tenth of a pixel, by area.

    Raises:
        ConfigError: a count that does not go into the levels.
        DataError: fewer boxes than anchors.
    """
    if count < 1 or count % levels:
        nearest = max(levels, round(count / levels) * levels)
        raise ConfigError(f"{count} anchors do not go into {levels} levels: the nearest valid count is {nearest}")
    if len(sizes) < count:
        raise DataError(f"{len(sizes)} boxes are too few for {count} anchors: label more, or ask for fewer anchors")
    generator = np.random.default_rng(seed)
    if len(sizes) > _SAMPLE:
        sizes = sizes[generator.choice(len(sizes), _SAMPLE, replace=False)]
    anchors = _evolve(sizes, _cluster(sizes, count, seed), generator)
    anchors = anchors[np.argsort(anchors.prod(1), kind="stable")]
    return anchors.round(1).reshape(levels, -1, 2).tolist()


def _cluster(sizes: Sizes, count: int, seed: int) -> Sizes:
    """Centres (count, 2) of k-means on the logarithms of the sizes: their differences are the ratios that matter."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer sizes than anchors: some are then equal
        clusters = KMeans(count, n_init=4, random_state=seed).fit(np.log(sizes))
    return np.maximum(np.exp(clusters.cluster_centers_), _SMALLEST)


def _evolve(sizes: Sizes, anchors: Sizes, generator: np.random.Generator) -> Sizes:
    """Change sides by random factors, generation after generation, and keep what fits better."""
    fitness = anchor_fitness(sizes, anchors)
    for _ in range(_GENERATIONS):
        # Small steps mostly, of all sides or of few.
        spread, share = 0.2 * generator.random(), generator.random()
        changed = generator.random(anchors.shape) < share
        factors = np.exp(spread * generator.standard_normal(anchors.shape))
        candidate = np.maximum(anchors * np.where(changed, factors, 1), _SMALLEST)
        better = anchor_fitness(sizes, candidate)
        if better > fitness:
            anchors, fitness = candidate, better
    return anchors


def _best_ratio(sizes: Sizes, anchors: Sizes) -> Sizes:
    """(N,) of the best anchor, 0..1."""
    # As differences of logarithms, width and height apart: several times faster than quotients of pairs.
    log_sizes, log_anchors = np.log(sizes), np.log(anchors)
    apart_width = np.abs(log_sizes[:, :1] - log_anchors[:, 0])
    apart_height = np.abs(log_sizes[:, 1:] - log_anchors[:, 1])
    return np.asarray(np.exp(-np.maximum(apart_width, apart_height).min(1)))


def _flat(anchors: npt.ArrayLike) -> Sizes:
    return np.asarray(anchors, dtype=np.float64).reshape(-1, 2)

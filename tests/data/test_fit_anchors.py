"""Anchors from data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ghostyolo.data.fit_anchors import anchor_fitness, anchor_recall, box_sizes, fit_anchors
from ghostyolo.data.records import ImageRecord
from ghostyolo.errors import ConfigError, DataError
from ghostyolo.models.default_anchors import default_anchors

pytest.importorskip("sklearn", reason="fitting needs scikit-learn, of the scenes extra")

DEFAULT = default_anchors((8, 16, 32))


def record(width: int, height: int, boxes: list[list[float]], ignore: list[bool] | None = None) -> ImageRecord:
    count = len(boxes)
    return ImageRecord(
        Path("a.png"), width, height, np.array(boxes, np.float32).reshape(-1, 4), np.zeros(count, np.int64),
        np.array(ignore or [False] * count, bool), 0,
    )  # fmt: skip


def clusters(seed: int = 0) -> np.ndarray:
    """600 boxes around nine sizes, most of them tiny or long, out of reach of the default anchors."""
    generator = np.random.default_rng(seed)
    centers = [(2, 3), (3, 2), (4, 4), (2, 60), (90, 3), (7, 120), (200, 8), (12, 300), (500, 20)]
    factors = np.exp(0.15 * generator.standard_normal((600, 2)))
    return np.array(centers, float)[generator.integers(0, 9, 600)] * factors


def test_sizes_are_those_on_the_letterboxed_picture_of_objects_that_count():
    records = [
        record(200, 100, [[0, 0, 50, 20], [0, 0, 10, 10]], [False, True]),  # scaled by 64 / 200
        record(32, 16, [[0, 0, 8, 4], [4, 4, 4, 10]]),  # by 2; the second has no area
        record(64, 64, []),
    ]
    assert box_sizes(records, 64).tolist() == [pytest.approx([16, 6.4]), pytest.approx([16, 8])]
    assert box_sizes([], 64).shape == (0, 2)


def test_recall_and_fitness_by_hand():
    anchors = [[10, 10], [40, 20]]
    # Best ratios: 1 with the first; 1/2 with the second (80 / 40); exactly 1/4, out of reach; 1/5, out of reach.
    sizes = np.array([[10, 10], [80, 20], [2.5, 10], [200, 100]], float)
    assert anchor_recall(sizes, anchors) == 0.5
    assert anchor_fitness(sizes, anchors) == pytest.approx((1 + 0.5) / 4)
    assert anchor_recall(np.array([[39, 39]], float), [[10, 10]]) == 1
    assert anchor_recall(np.array([[41, 39]], float), [[10, 10]]) == 0


def test_anchors_of_the_data_reach_what_the_default_ones_miss():
    sizes = clusters()
    before = anchor_recall(sizes, DEFAULT)
    anchors = fit_anchors(sizes)
    assert before < 0.6
    assert anchor_recall(sizes, anchors) > 0.99
    assert np.shape(anchors) == (3, 3, 2)
    areas = np.array(anchors).reshape(-1, 2).prod(1)
    assert (np.diff(areas) >= 0).all()


def test_the_search_improves_on_k_means():
    from ghostyolo.data.fit_anchors import _cluster, _evolve

    sizes = np.exp(np.random.default_rng(1).uniform(1, 6, (400, 2)))
    start = _cluster(sizes, 3, 0)
    found = _evolve(sizes, start, np.random.default_rng(0))
    assert anchor_fitness(sizes, found) > anchor_fitness(sizes, start) + 0.002
    assert anchor_recall(sizes, found) > anchor_recall(sizes, start)


def test_same_seed_same_anchors():
    sizes = clusters()
    first = fit_anchors(sizes, count=6, seed=3)
    assert fit_anchors(sizes, count=6, seed=3) == first
    assert fit_anchors(sizes, count=6, seed=4) != first


def test_boxes_of_one_size_give_anchors_near_it():
    sizes = np.full((20, 2), 30.0)
    anchors = fit_anchors(sizes)
    assert np.shape(anchors) == (3, 3, 2)
    assert anchor_recall(sizes, anchors) == 1
    assert [30, 30] in np.array(anchors).reshape(-1, 2).tolist()


def test_levels_and_counts():
    assert np.shape(fit_anchors(clusters(), count=4, levels=2)) == (2, 2, 2)
    with pytest.raises(ConfigError, match="10 anchors do not go into 3 levels: the nearest valid count is 9"):
        fit_anchors(clusters(), count=10)
    with pytest.raises(ConfigError, match="nearest valid count is 3"):
        fit_anchors(clusters(), count=0)


@pytest.mark.parametrize("boxes", [0, 8])
def test_fewer_boxes_than_anchors_are_refused(boxes):
    with pytest.raises(DataError, match=f"{boxes} boxes are too few for 9 anchors"):
        fit_anchors(clusters()[:boxes])

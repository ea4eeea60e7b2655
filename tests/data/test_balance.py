"""Rare classes: repeat factors and class weights on distributions that are worked out by hand."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from ghostyolo.data.balance import MOST_REPEATS, class_shares, class_weights, repeat_factors
from ghostyolo.data.records import ImageRecord
from ghostyolo.data.sampler import EvenBatches, make_sampler


def record(*labels: int, source: int = 0, known: list[bool] | None = None) -> ImageRecord:
    count = len(labels)
    return ImageRecord(
        Path("p.png"), 64, 64, np.tile(np.array([1, 1, 9, 9], np.float32), (count, 1)), np.array(labels, np.int64),
        np.zeros(count, bool), 0, source=source, known=None if known is None else np.array(known),
    )  # fmt: skip


# 12 pictures of class 0, two of them with class 1 as well, one more of class 2 alone, one without objects.
RECORDS = [*[record(0, 0, 0)] * 10, *[record(0, 1)] * 2, record(2), record()]


def test_a_share_counts_pictures_not_boxes() -> None:
    assert class_shares(RECORDS, 4).tolist() == pytest.approx([12 / 14, 2 / 14, 1 / 14, 0])


def test_a_picture_is_shown_as_often_as_its_rarest_class_asks() -> None:
    factors = repeat_factors(RECORDS, 4, threshold=4 / 14)
    assert factors.sum() == round(10 + 2 * 2**0.5 + 2 + 1)
    assert factors / factors[0] == pytest.approx([*[1] * 10, 2**0.5, 2**0.5, 2, 1])


def test_no_picture_is_shown_more_than_eight_times_as_often() -> None:
    many = [record(0)] * 999 + [record(1)]
    factors = repeat_factors(many, 2, threshold=1.0)
    assert factors[-1] / factors[0] == pytest.approx(MOST_REPEATS, rel=1e-3)


def test_ignored_objects_make_no_class() -> None:
    crowd = record(1)
    crowd.ignore[:] = True
    assert repeat_factors([record(0), record(0), crowd], 2, threshold=1.0).tolist() == pytest.approx([1, 1, 1], rel=0.3)
    assert class_shares([record(0), crowd], 2).tolist() == [0.5, 0]


def test_a_class_is_rare_among_the_pictures_of_sets_that_know_it() -> None:
    first = [record(0, known=[True, False])] * 90
    second = [record(1, source=1, known=[False, True])] * 10
    assert class_shares([*first, *second], 2).tolist() == [1, 1]
    assert repeat_factors([*first, *second], 2, threshold=0.5).tolist() == [1] * 100


def test_class_weights_leave_the_sum_over_objects_as_it_was() -> None:
    # 34 objects of class 0, 2 of class 1, 1 of class 2.
    for power in (0.25, 0.5, 1.0):
        weights = class_weights(RECORDS, 4, power)
        assert 32 * weights[0] + 2 * weights[1] + weights[2] == pytest.approx(35)
        assert weights[2] / weights[0] == pytest.approx(32**power)
        assert weights[3] == 1
    assert class_weights(RECORDS, 4, 1.0)[:3] * [32, 2, 1] == pytest.approx([35 / 3] * 3)
    assert class_weights([record()], 2, 0.5).tolist() == [1, 1]


def drawn(epochs: int, sources: list[int], repeats: np.ndarray, **place: int) -> list[list[int]]:
    sampler = make_sampler(sources, 1.0, seed=3, repeats=repeats, **place)
    orders = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert len(orders[-1]) == len(sampler)
    return orders


def test_epochs_are_of_one_length_and_show_pictures_as_often_as_asked() -> None:
    repeats = repeat_factors(RECORDS, 4, threshold=4 / 14)
    orders = drawn(400, [0] * 14, repeats)
    assert {len(order) for order in orders} == {round(repeats.sum())}
    counts = Counter(chain.from_iterable(orders))
    for place, factor in enumerate(repeats):
        assert counts[place] / 400 == pytest.approx(factor, abs=0.06)
    # In one epoch a picture's number is its factor, rounded down or up.
    for order in orders:
        assert all(int(repeats[place]) <= order.count(place) <= int(repeats[place]) + 1 for place in range(14))


def test_each_set_of_several_shows_its_rare_pictures_more_often() -> None:
    sources = [0] * 24 + [1] * 12
    repeats = np.ones(36)
    repeats[:4], repeats[24:28] = 3.0, 2.0
    orders = drawn(300, sources, repeats)
    counts = Counter(chain.from_iterable(orders))
    mean = {place: counts[place] / 300 for place in counts}
    assert mean[0] / mean[10] == pytest.approx(3, rel=0.1)
    assert mean[25] / mean[30] == pytest.approx(2, rel=0.1)
    # A block of four is of one set, and an epoch is as long as both sets' repeated pictures.
    assert all(len({sources[place] for place in order[at : at + 4]}) == 1 for order in orders for at in range(0, 48, 4))
    assert {len(order) for order in orders} == {48}


def test_ranks_share_repeated_pictures_and_batches_stay_even() -> None:
    repeats = np.array([3.0, 1, 1, 1, 2])
    parts = [drawn(1, [0] * 5, repeats, rank=rank, world_size=2)[0] for rank in range(2)]
    assert [len(part) for part in parts] == [4, 4]
    assert Counter(chain.from_iterable(parts)) == {0: 3, 1: 1, 2: 1, 3: 1, 4: 2}
    batches = EvenBatches(make_sampler([0] * 5, 1.0, seed=0, repeats=repeats), 4)
    assert [len(batch) for batch in batches] == [4, 4]


def test_without_repeats_the_order_is_what_it_was() -> None:
    assert drawn(2, [0] * 9, np.ones(9)) == [
        np.random.default_rng([3, epoch]).permutation(9).tolist() for epoch in range(2)
    ]

"""EpochSampler: an order that depends on seed and epoch only, shared out among ranks."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from ghostyolo.data.sampler import EpochSampler, EvenBatches, SetSampler, make_sampler
from ghostyolo.errors import ConfigError


def order(length: int, epoch: int, **settings: int) -> list[int]:
    sampler = EpochSampler(length, **{"seed": 1, **settings})
    sampler.set_epoch(epoch)
    positions = list(sampler)
    assert len(sampler) == len(positions)
    return positions


def test_each_epoch_visits_every_picture_once_in_another_order():
    first, second = order(50, 0), order(50, 1)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first != list(range(50))


def test_resuming_at_an_epoch_gives_the_order_of_that_epoch():
    running = EpochSampler(50, seed=1)
    for epoch in range(4):
        running.set_epoch(epoch)
        last = list(running)
    assert last == order(50, 3)


def test_another_seed_gives_another_order():
    assert order(50, 2, seed=1) != order(50, 2, seed=2)
    assert order(50, 1, seed=2) != order(50, 2, seed=1)


def test_ranks_share_the_pictures_without_overlap():
    shards = [order(12, 5, rank=rank, world_size=3) for rank in range(3)]
    assert [len(shard) for shard in shards] == [4, 4, 4]
    assert sorted(chain.from_iterable(shards)) == list(range(12))


def test_ranks_get_equal_shares_by_wrapping_around():
    shards = [order(10, 0, rank=rank, world_size=4) for rank in range(4)]
    together = [position for group in zip(*shards, strict=True) for position in group]
    assert together == order(10, 0) + order(10, 0)[:2]


def test_fewer_pictures_than_ranks_still_gives_each_rank_one():
    assert [order(2, 0, rank=rank, world_size=5) for rank in range(5)] == [
        [position] for position in (order(2, 0) * 3)[:5]
    ]


def test_no_pictures_is_an_empty_order():
    assert order(0, 0) == []
    assert order(0, 0, rank=1, world_size=2) == []


@pytest.mark.parametrize("settings", [{"rank": 2, "world_size": 2}, {"rank": -1}, {"seed": -1}])
def test_impossible_settings_are_refused(settings: dict):
    with pytest.raises(ConfigError):
        order(5, 0, **settings)


@pytest.mark.parametrize(
    ("pictures", "batch", "sizes"),
    [(205, 16, {15, 16}), (33, 16, {11}), (17, 16, {8, 9}), (3, 2, {3}), (5, 2, {2, 3}), (2, 16, {2}), (1, 16, {1})],
)
def test_batches_are_of_one_size_and_none_of_a_single_picture(pictures, batch, sizes):
    batches = EvenBatches(EpochSampler(pictures, seed=0), batch)
    drawn = list(batches)
    assert len(drawn) == len(batches)
    assert {len(part) for part in drawn} == sizes
    assert sorted(number for part in drawn for number in part) == list(range(pictures))


def test_batches_of_one_are_kept_where_they_are_asked_for():
    assert [len(part) for part in EvenBatches(EpochSampler(3, seed=0), 1)] == [1, 1, 1]


@pytest.mark.parametrize(("batch", "whole"), [(16, True), (4, True), (6, False), (2, False)])
def test_batches_hold_whole_blocks_where_some_of_them_make_a_batch(batch, whole):
    sampler = SetSampler([0] * 64 + [1] * 13, 1, seed=0)
    sizes = [len(part) for part in EvenBatches(sampler, batch)]
    assert sum(sizes) == len(sampler)
    assert 2 <= min(sizes) <= max(sizes) <= batch
    assert all(size % 4 == 0 for size in sizes) is whole


def test_batches_follow_the_order_of_the_epoch():
    sampler = EpochSampler(40, seed=1)
    batches = EvenBatches(sampler, 16)
    first = [number for part in batches for number in part]
    begun = iter(batches)
    sampler.set_epoch(1)  # after the iterator is made, as Lightning does on resume
    second = [number for part in begun for number in part]
    assert second == list(sampler) != first


def set_order(sizes: list[int], temperature: float, epoch: int, **settings: int) -> list[int]:
    sources = [source for source, size in enumerate(sizes) for _ in range(size)]
    sampler = SetSampler(sources, temperature, **{"seed": 1, **settings})
    sampler.set_epoch(epoch)
    positions = list(sampler)
    assert len(sampler) == len(positions)
    return positions


def test_sets_are_shown_by_the_root_of_their_size():
    for temperature, shares in ((1, (64, 16)), (2, (52, 28)), (1e9, (40, 40))):
        positions = np.array(set_order([64, 16], temperature, 0))
        assert ((positions < 64).sum(), (positions >= 64).sum()) == shares


def test_blocks_of_four_are_of_one_set():
    blocks = np.array(set_order([64, 13, 7], 2, 3)).reshape(-1, 4)
    sets = np.digitize(blocks, [64, 77])
    assert (sets == sets[:, :1]).all()
    assert len(np.unique(sets)) == 3


def test_a_set_is_shown_whole_before_any_of_it_comes_again():
    seen = [position for epoch in range(20) for position in set_order([90, 10], 3, epoch) if position >= 90]
    counts = np.bincount(np.array(seen) - 90)
    assert len(seen) > 100
    assert counts.max() - counts.min() <= 1


def test_ranks_share_the_blocks_of_the_sets():
    whole = np.array(set_order([40, 8], 1, 2)).reshape(-1, 4)
    shards = [np.array(set_order([40, 8], 1, 2, rank=rank, world_size=2)).reshape(-1, 4) for rank in range(2)]
    np.testing.assert_array_equal(np.stack(shards, 1).reshape(-1, 4), whole)


def test_one_set_keeps_the_plain_order():
    assert list(make_sampler([0] * 9, 2.0, seed=3)) == list(EpochSampler(9, seed=3))
    assert isinstance(make_sampler([0, 1], 1.0, seed=3), SetSampler)

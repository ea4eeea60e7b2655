"""Differences of cells over seeds, Holm's correction, verdicts."""

from __future__ import annotations

import pytest

from ghostyolo.ablate.statistics import Difference, differences_to_base, holm, verdict


def two(values: list[float], base: list[float]) -> Difference:
    return differences_to_base({"base": dict(enumerate(base)), "cell": dict(enumerate(values))}, "base")["cell"]


def test_three_pairs_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, deviation 1; t(0.975, 2) = 4.302653, t = 2 sqrt(3), p = 1 - t / sqrt(t^2 + 2)."""
    found = two([11.0, 22.0, 33.0], [10.0, 20.0, 30.0])
    assert (found.mean, found.pairs) == (pytest.approx(2), 3)
    half = 4.302652729911275 / 3**0.5
    assert (found.low, found.high) == (pytest.approx(2 - half), pytest.approx(2 + half))
    t = 2 * 3**0.5
    assert found.p == pytest.approx(1 - t / (t * t + 2) ** 0.5)


def test_with_one_cell_equal_to_scipys_paired_test() -> None:
    from scipy.stats import ttest_rel

    values, base = [52.1, 50.3, 51.9, 53.4, 50.0], [50.2, 50.4, 50.9, 51.0, 49.7]
    found, reference = two(values, base), ttest_rel(values, base)
    interval = reference.confidence_interval(0.95)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_noise_is_that_of_all_cells_together() -> None:
    """Rows base (0, 1), a (2, 5), b (1, 0): cell means 0.5, 3.5, 0.5, seed means 1, 2, grand mean 1.5.

    What cell and seed leave is (0, 0), (-1, 1), (1, -1): 4 on (3 - 1)(2 - 1) = 2 degrees of freedom, so 2. A difference
    of two means of two runs has the standard error sqrt(2 x 2 / 2) = sqrt 2; t(0.975, 2) = 4.302653.
    """
    found = differences_to_base({"base": {0: 0.0, 1: 1.0}, "a": {0: 2.0, 1: 5.0}, "b": {0: 1.0, 1: 0.0}}, "base")
    half = 4.302652729911275 * 2**0.5
    for cell, mean in (("a", 3), ("b", 0)):
        gap = found[cell]
        assert gap.mean == pytest.approx(mean, abs=1e-12)
        assert (gap.low, gap.high) == (pytest.approx(mean - half), pytest.approx(mean + half))


def test_a_cell_that_lacks_a_seed_is_compared_on_its_own_ones() -> None:
    """Seed 2 is 100 better for all; the cell that lacks it must not look worse for that."""
    scores = {"base": {0: 1.0, 1: 2.0, 2: 101.5}, "cell": {0: 2.0, 1: 3.0}}
    found = differences_to_base(scores, "base")["cell"]
    assert found.mean == pytest.approx(1)
    assert found.pairs == 2


def test_one_seed_says_nothing_and_no_seed_in_common_is_left_out() -> None:
    found = two([3.0], [1.0])
    assert (found.low, found.high, found.p, found.pairs) == (None, None, None, 1)
    assert found.mean == pytest.approx(2)
    assert verdict(found, None) == "one seed: nothing can be said"
    assert differences_to_base({"base": {0: 1.0}, "cell": {1: 2.0}}, "base") == {}
    assert differences_to_base({"cell": {1: 2.0}}, "base") == {}


def test_equal_differences_have_no_width() -> None:
    assert two([1.0, 1.0], [1.0, 1.0]).p == pytest.approx(1, abs=1e-3)
    found = two([2.0, 2.0], [1.0, 1.0])
    assert (found.low, found.high) == (pytest.approx(1), pytest.approx(1))
    assert found.p == pytest.approx(0, abs=1e-9)


def test_holms_own_scheme() -> None:
    """0.01 x 4, 0.02 x 3, max(0.06, 0.03 x 2), max(0.06, 0.04 x 1)."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_verdicts() -> None:
    up, down = (Difference(mean, -1, 3, 0.01, 3) for mean in (1.0, -1.0))
    assert verdict(up, 0.049) == "helps"
    assert verdict(down, 0.049) == "hurts"
    assert verdict(up, 0.05) == "no difference shown"

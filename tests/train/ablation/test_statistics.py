"""Differences of paired seeds, Holm's correction, verdicts."""

from __future__ import annotations

import pytest

from ghostyolo.train.ablation.statistics import Difference, holm, paired_difference, verdict


def test_three_pairs_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, deviation 1; t(0.975, 2) = 4.302653, t = 2 sqrt(3), p = 1 - t / sqrt(t^2 + 2)."""
    found = paired_difference([11.0, 22.0, 33.0], [10.0, 20.0, 30.0])
    assert (found.mean, found.pairs) == (2, 3)
    half = 4.302652729911275 / 3**0.5
    assert (found.low, found.high) == (pytest.approx(2 - half), pytest.approx(2 + half))
    t = 2 * 3**0.5
    assert found.p == pytest.approx(1 - t / (t * t + 2) ** 0.5)


def test_equal_to_scipys_paired_test() -> None:
    from scipy.stats import ttest_rel

    values, base = [52.1, 50.3, 51.9, 53.4, 50.0], [50.2, 50.4, 50.9, 51.0, 49.7]
    found, reference = paired_difference(values, base), ttest_rel(values, base)
    interval = reference.confidence_interval(0.95)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_two_pairs_take_the_widest_quantile() -> None:
    """Differences 0 and 2: mean 1, standard error 1, t(0.975, 1) = 12.7062, and p = 1/2 at t = 1."""
    found = paired_difference([0.0, 2.0], [0.0, 0.0])
    assert (found.low, found.high) == (pytest.approx(1 - 12.7062, abs=1e-4), pytest.approx(1 + 12.7062, abs=1e-4))
    assert found.p == pytest.approx(0.5)


def test_one_pair_says_nothing_and_none_is_an_error() -> None:
    found = paired_difference([3.0], [1.0])
    assert found == Difference(2.0, None, None, None, 1)
    assert verdict(found, None) == "one seed: nothing can be said"
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference([], [])


def test_equal_differences_have_no_width() -> None:
    assert paired_difference([1.0, 1.0], [1.0, 1.0]).p == 1
    assert paired_difference([2.0, 2.0], [1.0, 1.0]) == Difference(1.0, 1.0, 1.0, 0.0, 2)


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

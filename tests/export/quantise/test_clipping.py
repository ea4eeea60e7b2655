"""Thresholds of int8: clip what is rare and far, keep what is even, and take silence as it is."""

from __future__ import annotations

import numpy as np
import pytest

from ghostyolo.export.quantise.clipping import best_threshold, step_of, thresholds


def test_a_single_outlier_is_clipped_and_an_even_spread_is_not():
    outlier = np.zeros(2048)
    outlier[:205], outlier[-1] = 10_000, 1
    assert best_threshold(outlier, 1.0) < 0.5
    assert best_threshold(np.full(2048, 100.0), 1.0) > 0.98
    assert best_threshold(np.zeros(2048), 0.0) == 0.0


def test_tensors_are_measured_over_all_pictures():
    even = np.linspace(-1, 1, 50_001)
    found = thresholds(lambda: iter([{"a": even, "b": np.zeros(3)}, {"a": 3 * even, "b": np.zeros(0)}]))
    assert found["a"] == pytest.approx(3, rel=0.05)
    assert found["b"] == 0


def test_a_step_of_silence_is_one():
    np.testing.assert_allclose(step_of(np.array([127.0, 0.0, 1e-40])), [1, 1, 1])
    assert float(step_of(63.5)) == 0.5

"""Channel-wise distillation, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ghostyolo.losses.distil_detector import channel_divergence, feature_distillation


def test_divergence_over_positions_is_a_mean_over_channels_and_pictures() -> None:
    # Two positions. First channel: teacher (3/4, 1/4), student (1/2, 1/2): 0.130812; the second channel agrees.
    teacher = torch.tensor([[[[math.log(3), 0.0]], [[1.0, 2.0]]]])
    student = torch.tensor([[[[5.0, 5.0]], [[1.0, 2.0]]]])
    assert channel_divergence(student, teacher, 1.0).item() == pytest.approx(0.130812 / 2, abs=1e-6)
    twice = channel_divergence(student.repeat(3, 1, 1, 1), teacher.repeat(3, 1, 1, 1), 1.0)
    assert twice.item() == pytest.approx(0.130812 / 2, abs=1e-6)


def test_temperature_divides_both_maps_and_its_square_multiplies_the_loss() -> None:
    teacher = torch.tensor([[[[2 * math.log(3), 0.0]]]])
    assert channel_divergence(torch.zeros(1, 1, 1, 2), teacher, 2.0).item() == pytest.approx(4 * 0.130812, abs=1e-6)


def test_only_the_pattern_counts_and_maps_are_averaged() -> None:
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert channel_divergence(maps + 7, maps, 2.0).item() == pytest.approx(0, abs=1e-6)
    pair = torch.tensor([[[[math.log(3), 0.0]]]])
    both = feature_distillation([torch.zeros(1, 1, 1, 2), maps], [pair, maps], 1.0)
    assert both.item() == pytest.approx(0.130812 / 2, abs=1e-6)

"""Nearest upsampling written as a choice of rows gives what torch gives, at any pair of sizes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ghostyolo.export.formats.litert import nearest_by_index, source_indices


def test_the_rows_are_torchs():
    for length in range(1, 40):
        for target in range(1, 90):
            rows = torch.arange(length, dtype=torch.float32).view(1, 1, length, 1)
            expected = F.interpolate(rows, size=(target, 1), mode="nearest").flatten().int().tolist()
            assert source_indices(length, target) == expected, (length, target)


@pytest.mark.parametrize("size", [(7, 7), (6, 7), (6, 9), (3, 4), 8])
def test_maps_are_torchs_and_the_function_is_put_back(size):
    x = torch.rand(2, 3, 3, 4)
    original, expected = F.interpolate, F.interpolate(x, size=size, mode="nearest")
    with nearest_by_index():
        assert F.interpolate is not original
        assert torch.equal(F.interpolate(x, size=size, mode="nearest"), expected)
        assert torch.equal(F.interpolate(x, scale_factor=2.0, mode="nearest"), original(x, scale_factor=2.0))
    assert F.interpolate is original

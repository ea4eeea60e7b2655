"""Cells of feature maps, and which of them lie in boxes."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.nn.boxes import cell_centers, cells_between


def cells(height: int, width: int, strides=(8, 16, 32)):
    features = [torch.zeros(1, 1, max(height // stride, 1), max(width // stride, 1)) for stride in strides]
    return cell_centers(features, strides)


@pytest.mark.parametrize("shape", [(64, 160), (160, 64), (32, 32)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_cells_between_are_those_that_a_comparison_with_every_cell_finds(shape, seed):
    height, width = shape
    generator = torch.Generator().manual_seed(seed)
    centers, strides = cells(height, width)
    # Corners on multiples of 4 often touch a centre; some boxes reach out of the picture, some hold nothing.
    low = (torch.rand(200, 2, generator=generator) * 1.4 - 0.2).mul(torch.tensor([width, height]))
    high = low + torch.rand(200, 2, generator=generator) ** 3 * torch.tensor([width, height])
    low, high = (low / 4).round() * 4, (high / 4).round() * 4
    inside = ((centers >= low[:, None]) & (centers <= high[:, None])).all(-1)
    box, cell = cells_between(low, high, centers, strides)
    assert torch.equal(torch.stack((box, cell), 1), inside.nonzero())
    assert 0 < len(box) < inside.numel()


def test_no_box_has_no_cell():
    box, cell = cells_between(torch.zeros(0, 2), torch.zeros(0, 2), *cells(64, 64))
    assert (len(box), len(cell)) == (0, 0)
    assert box.dtype == cell.dtype == torch.int64


def test_a_box_that_ends_before_it_begins_has_no_cell():
    box, _ = cells_between(torch.tensor([[40.0, 40.0]]), torch.tensor([[20.0, 60.0]]), *cells(64, 64))
    assert len(box) == 0

"""YOLOX's box arithmetic."""

from __future__ import annotations

import math

import pytest
import torch

from ghostyolo.nn.boxes import cell_centers, decode_offsets, encode_offsets
from tests.losses.scenes import grid


def test_decoding_by_hand():
    # The cell in column 3, row 1 of stride 16: middle (3.5 x 16, 1.25 x 16), size 32 x 8.
    box = decode_offsets(
        torch.tensor([[56.0, 24.0]]), torch.tensor([[0.5, 0.25, math.log(2), -math.log(2)]]), torch.tensor([[16.0]])
    )
    assert box.tolist() == [pytest.approx([40, 16, 72, 24])]


def test_encoding_is_the_inverse():
    centers, strides = grid(64)
    offsets = torch.randn(2, len(centers), 4, dtype=torch.float64)
    boxes = decode_offsets(centers, offsets, strides)
    torch.testing.assert_close(encode_offsets(centers, boxes, strides), offsets)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    centers, strides = grid(32, (8,))
    offsets = torch.full((len(centers), 4), 2.03).to(dtype)
    boxes = decode_offsets(centers, offsets, strides)
    assert boxes.dtype == torch.float32
    assert (boxes[0, 2] - boxes[0, 0]).item() == pytest.approx(8 * math.exp(float(offsets[0, 2])), rel=1e-6)


def test_cells_are_rows_of_each_map_in_turn():
    centers, strides = cell_centers([torch.empty(1, 2, 4, 4), torch.empty(1, 5, 2, 2)], (8, 16))
    expected_centers, expected_strides = grid(32, (8, 16))
    assert torch.equal(centers, expected_centers)
    assert torch.equal(strides, expected_strides)

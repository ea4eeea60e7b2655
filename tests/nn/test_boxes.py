"""Box arithmetic of distribution heads."""

import pytest
import torch

from ghostyolo.nn.boxes import decode_distances, decode_ltrb, encode_ltrb, expected_distance


def test_uniform_logits_expect_the_middle_of_the_bins():
    assert expected_distance(torch.zeros(2, 3, 64), 16).tolist() == [[[7.5] * 4] * 3] * 2


def test_a_sharp_peak_expects_its_bin_and_sides_keep_their_order():
    logits = torch.full((1, 4, 16), -1e4)
    for side, peak in enumerate((0, 5, 10, 15)):
        logits[0, side, peak] = 0
    assert expected_distance(logits.flatten(1), 16).tolist() == [[0, 5, 10, 15]]


def test_two_equal_peaks_expect_the_point_between():
    logits = torch.tensor([[0.0, 0.0, -1e4]]).repeat(1, 4)
    assert expected_distance(logits, 3).tolist() == [[0.5] * 4]


def test_expected_distance_takes_no_anchors():
    assert expected_distance(torch.zeros(2, 0, 64), 16).shape == (2, 0, 4)


def test_autocast_does_not_round_distances():
    logits = torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = expected_distance(logits, 16)
    assert under_autocast.dtype == torch.float32
    torch.testing.assert_close(under_autocast, expected_distance(logits, 16))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_expected_distance_keeps_the_dtype(dtype):
    distances = expected_distance(torch.zeros(1, 8, dtype=dtype), 2)
    assert distances.dtype == dtype
    assert distances.tolist() == [[0.5] * 4]


def test_decoding_goes_left_top_right_bottom_from_the_centre():
    boxes = decode_ltrb(torch.tensor([[10.0, 20.0]]), torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]))
    assert boxes.tolist() == [[[9, 18, 13, 24]]]


def test_distances_in_strides_scale_with_the_stride_of_the_anchor():
    centers = torch.tensor([[4.0, 4.0], [16.0, 16.0]])
    boxes = decode_distances(centers, torch.ones(1, 2, 4), torch.tensor([[8.0], [32.0]]))
    assert boxes.tolist() == [[[-4, -4, 12, 12], [-16, -16, 48, 48]]]


def test_encoding_inverts_decoding():
    generator = torch.Generator().manual_seed(1)
    centers = torch.rand(7, 2, generator=generator, dtype=torch.float64) * 100
    distances = torch.randn(3, 7, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(encode_ltrb(centers, decode_ltrb(centers, distances)), distances)

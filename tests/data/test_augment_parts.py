"""The parts of augmentation on their own: configuration, boxes under affine maps, HSV jitter."""

from __future__ import annotations

import colorsys
import math

import pytest
import torch

from ghostyolo.data.augment.color import jitter_hsv
from ghostyolo.data.augment.config import AugmentConfig
from ghostyolo.data.augment.geometry import Affine, random_affine, warp_boxes
from ghostyolo.data.augment.mosaic import random_layout
from ghostyolo.errors import ConfigError


@pytest.mark.parametrize(
    "given",
    [
        {"mosiac": 1.0},
        {"perspective": 0.1},
        {"mosaic": 1.5},
        {"scale": -0.1},
        {"scale": 1.0},
        {"hsv_h": math.nan},
        {"fliplr": "often"},
    ],
)
def test_impossible_or_unknown_settings_are_refused_by_name(given: dict):
    with pytest.raises(ConfigError, match=next(iter(given))):
        AugmentConfig(**given)


def affine(matrix: list[list[float]], shift: list[float]) -> Affine:
    return Affine(torch.tensor([matrix]), torch.tensor([shift]), axis_aligned=False)


def test_boxes_follow_scale_and_shift_and_are_cut_at_the_border():
    boxes = torch.tensor([[[10.0, 10.0, 30.0, 20.0], [80.0, 80.0, 120.0, 100.0]]])
    placed, keep = warp_boxes(boxes, affine([[0.5, 0.0], [0.0, 0.5]], [-6.0, 10.0]), 50)
    assert placed.tolist() == [[[0.0, 15.0, 9.0, 20.0], [34.0, 50.0, 50.0, 50.0]]]
    assert keep.tolist() == [[True, False]]


def test_a_quarter_turn_swaps_the_sides_of_a_box():
    # x' = 100 - y, y' = x
    placed, keep = warp_boxes(
        torch.tensor([[[10.0, 20.0, 40.0, 30.0]]]), affine([[0.0, -1.0], [1.0, 0.0]], [100.0, 0.0]), 100
    )
    assert placed.tolist() == [[[70.0, 10.0, 80.0, 40.0]]]
    assert keep.all()


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([10, 10, 12, 12], True),  # side 2
        ([10, 10, 11.9, 30], False),  # side 1.9
        ([-18, 10, 2, 30], True),  # a tenth in view
        ([-19, 10, 2, 30], False),  # 2 / 21 in view
        ([0, 0, 200, 2], True),  # aspect 100
        ([0, 0, 202, 2], False),  # aspect 101
        ([300, 10, 320, 30], False),  # outside
        ([30, 30, 30, 30], False),  # no area
        ([math.nan, 10, 20, 30], False),
    ],
)
def test_a_box_is_kept_only_while_enough_of_it_is_left(box: list[float], kept: bool):
    _, keep = warp_boxes(torch.tensor([[box]]).float(), affine([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), 256)
    assert keep.tolist() == [[kept]]


def test_no_boxes_stay_no_boxes():
    placed, keep = warp_boxes(torch.zeros(1, 0, 4), affine([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), 64)
    assert placed.shape == (1, 0, 4)
    assert keep.shape == (1, 0)


def test_affine_maps_stay_in_their_ranges_and_invert():
    config = AugmentConfig(scale=0.3, translate=0.2, fliplr=0.5)
    maps = random_affine(500, config, 100, torch.Generator().manual_seed(0))
    zoom = maps.matrix[:, 1, 1]
    assert 0.7 <= zoom.min() < 0.72
    assert 1.28 < zoom.max() <= 1.3
    mirrored = maps.matrix[:, 0, 0] < 0
    assert 200 < mirrored.sum() < 300
    centre = (maps.matrix @ torch.full((2,), 100.0)) + maps.shift  # where the canvas centre lands
    assert centre.min() >= 29.99
    assert centre.max() <= 70.01
    back = maps.inverse()
    restored = (back.matrix @ centre[..., None])[..., 0] + back.shift
    torch.testing.assert_close(restored, torch.full_like(restored, 100.0), rtol=0, atol=1e-3)


def test_mosaic_partners_are_never_the_picture_itself():
    layout = random_layout(torch.full((5, 2), 64), 64, 1.0, torch.Generator().manual_seed(0))
    assert layout.sources[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert (layout.sources[:, 1:] != layout.sources[:, :1]).all()
    assert layout.sources.max() < 5


def jitter(colors: torch.Tensor, hue: float, saturation: float, value: float) -> torch.Tensor:
    """Apply to (N, 3) colours; returns (N, 3)."""
    planes = colors.T.reshape(3, 1, 1, -1).contiguous()
    out = torch.empty_like(planes)
    jitter_hsv(planes, torch.tensor([hue]), torch.tensor([saturation]), torch.tensor([value]), out)
    return out.reshape(3, -1).T


CORNERS = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3)  # black, greys, primaries, ties


@pytest.mark.parametrize(
    ("hue", "saturation", "value"),
    [
        (0.0, 1.0, 1.0),
        (0.015, 1.7, 0.6),
        (-0.015, 0.3, 1.4),
        (0.5, 1.2, 1.0),
        (-0.5, 1.0, 0.0),
        (0.3, 0.0, 1.1),
    ],
)
def test_hsv_jitter_agrees_with_the_standard_library(hue: float, saturation: float, value: float):
    random = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    colors = torch.cat([CORNERS, random])
    expected = []
    for color in colors.tolist():
        h, s, v = colorsys.rgb_to_hsv(*color)
        expected.append(colorsys.hsv_to_rgb((h + hue) % 1, min(s * saturation, 1), min(v * value, 1)))
    torch.testing.assert_close(jitter(colors, hue, saturation, value), torch.tensor(expected), rtol=0, atol=2e-5)


def test_each_picture_gets_its_own_jitter():
    planes = torch.full((3, 2, 1, 1), 0.4)
    out = torch.empty(2, 3, 1, 1)
    jitter_hsv(planes, torch.zeros(2), torch.ones(2), torch.tensor([0.5, 2.0]), out.transpose(0, 1))
    torch.testing.assert_close(out.flatten(1), torch.tensor([[0.2] * 3, [0.8] * 3]))

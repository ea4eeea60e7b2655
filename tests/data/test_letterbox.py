"""Fitting pictures into the network's canvas and bringing boxes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostyolo.data.letterbox import (
    Letterbox,
    apply_letterbox,
    network_input,
    plan_letterbox,
    resize_picture,
    resized_size,
)
from ghostyolo.errors import ConfigError


def test_wide_picture_is_shrunk_and_padded_above_and_below():
    assert plan_letterbox(200, 100, 64) == Letterbox(scale=0.32, left=0, top=16, width=64, height=64)


def test_small_picture_is_enlarged():
    assert plan_letterbox(10, 20, 64) == Letterbox(scale=3.2, left=16, top=0, width=64, height=64)


def test_rectangular_canvas_ends_at_the_next_multiple_of_the_stride():
    # 320 x 200 pixels at scale 0.5 are 160 x 100; 100 goes up to 128, 28 rows of padding, 14 on top.
    assert plan_letterbox(320, 200, 160, stride=32, rect=True) == Letterbox(0.5, 0, 14, 160, 128)


def test_imgsz_may_be_a_rectangle_given_as_height_and_width():
    plan = plan_letterbox(100, 100, (64, 128))
    assert (plan.width, plan.height, plan.scale, plan.left) == (128, 64, 0.64, 32)


def test_an_odd_padding_puts_the_extra_pixel_right_and_below():
    plan = plan_letterbox(61, 64, 64)
    assert (plan.left, plan.top) == (1, 0)
    canvas = apply_letterbox(np.full((64, 61, 3), 7, np.uint8), plan)
    assert (canvas[0, :, 0] == [114] + [7] * 61 + [114] * 2).all()


def test_picture_that_fits_exactly_is_not_touched():
    image = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    np.testing.assert_array_equal(apply_letterbox(image, plan_letterbox(64, 64, 64)), image)


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_any_number_of_channels_is_kept(channels):
    image = np.full((50, 30, channels), 200, np.uint8)
    canvas = apply_letterbox(image, plan_letterbox(30, 50, 64))
    assert canvas.shape == (64, 64, channels)
    assert (canvas[:, 13:51] == 200).all()  # 30 x 64 / 50 = 38.4 columns, 38 after rounding, 13 before them
    assert (canvas[:, :13] == 114).all()
    assert (canvas[:, 51:] == 114).all()


def test_pad_value_can_be_chosen():
    canvas = apply_letterbox(np.zeros((10, 20, 3), np.uint8), plan_letterbox(20, 10, 32), pad_value=9)
    assert (canvas[0] == 9).all()


def test_a_thin_picture_keeps_at_least_one_pixel():
    canvas = apply_letterbox(np.full((1000, 1, 3), 255, np.uint8), plan_letterbox(1, 1000, 64, rect=True))
    assert canvas.shape == (64, 32, 3)
    assert (canvas.max(axis=(0, 2)) == 255).sum() == 1


def test_boxes_go_to_the_canvas_and_come_back():
    plan = Letterbox(scale=0.5, left=10, top=20, width=100, height=100)
    box = np.array([[4, 8, 60, 80]], np.float32)
    np.testing.assert_allclose(plan.boxes_to_canvas(box, 100, 100), [[12, 24, 40, 60]])
    np.testing.assert_allclose(plan.boxes_to_image(plan.boxes_to_canvas(box, 100, 100), 100, 100), box)


def test_boxes_are_clipped_to_the_picture():
    plan = Letterbox(scale=1, left=10, top=10, width=100, height=100)
    found = plan.boxes_to_image(np.array([[0, 0, 200, 200]]), 50, 40)
    np.testing.assert_allclose(found, [[0, 0, 50, 40]])


def test_no_boxes_stay_no_boxes():
    plan = plan_letterbox(10, 10, 32)
    assert plan.boxes_to_canvas(np.zeros((0, 4)), 10, 10).shape == (0, 4)
    assert plan.boxes_to_image(np.zeros((0, 4)), 10, 10).shape == (0, 4)


@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    imgsz=st.one_of(st.integers(1, 1600), st.tuples(st.integers(1, 1600), st.integers(1, 1600))),
    stride=st.sampled_from([1, 8, 32, 64]),
    rect=st.booleans(),
    corners=st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=5),
)
def test_any_box_of_any_picture_goes_to_the_canvas_and_comes_back(size, imgsz, stride, rect, corners):
    width, height = size
    plan = plan_letterbox(width, height, imgsz, stride, rect)
    fit_height, fit_width = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    resized_width, resized_height = resized_size(width, height, plan.scale)
    if rect:
        assert plan.width % stride == plan.height % stride == 0
        assert plan.width - stride < resized_width <= plan.width
        assert plan.height - stride < resized_height <= plan.height
    else:
        assert (plan.width, plan.height) == (fit_width, fit_height)
    assert (resized_width, resized_height) <= (plan.width, plan.height)
    # As large as fits: one side fills what it was to fit.
    assert resized_width == fit_width or resized_height == fit_height
    # In the middle, to a pixel.
    for before, inner, whole in ((plan.left, resized_width, plan.width), (plan.top, resized_height, plan.height)):
        assert whole - inner - before - before in (0, 1)
    boxes = (np.sort(np.array(corners).reshape(-1, 2, 2), axis=1) * [width, height]).reshape(-1, 4)
    on_canvas = plan.boxes_to_canvas(boxes, width, height)
    assert on_canvas.shape == boxes.shape
    first, last = [plan.left, plan.top] * 2, [plan.left + resized_width, plan.top + resized_height] * 2
    assert (on_canvas >= np.array(first) - 1e-3).all()
    assert (on_canvas <= np.array(last) + 1e-3).all()
    # Float32 keeps seven digits of a place on the canvas; going back multiplies what is lost.
    back = plan.boxes_to_image(on_canvas, width, height)
    enlarged = np.array([width / resized_width, height / resized_height] * 2)
    assert (np.abs(back - boxes) <= max(plan.width, plan.height) * 2e-7 * enlarged + 1e-3).all()


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    imgsz=st.integers(1, 96),
    rect=st.booleans(),
    channels=st.sampled_from([1, 3, 4]),
    resize=st.sampled_from(["area", "bilinear"]),
)
def test_a_flat_picture_lies_on_the_canvas_where_the_plan_says(size, imgsz, rect, channels, resize):
    width, height = size
    plan = plan_letterbox(width, height, imgsz, 8, rect, resize)
    canvas = apply_letterbox(np.full((height, width, channels), 7, np.uint8), plan)
    assert canvas.shape == (plan.height, plan.width, channels)
    resized_width, resized_height = resized_size(width, height, plan.scale)
    expected = np.full_like(canvas, 114)
    expected[plan.top : plan.top + resized_height, plan.left : plan.left + resized_width] = 7
    np.testing.assert_array_equal(canvas, expected)


def test_another_canvas_keeps_the_scale_and_centres_again():
    plan = plan_letterbox(320, 200, 160, rect=True).on_canvas(320, 200, 192, 160)
    assert plan == Letterbox(scale=0.5, left=16, top=30, width=192, height=160)


def test_a_picture_without_pixels_is_an_error():
    with pytest.raises(ConfigError, match="0 x 5"):
        plan_letterbox(0, 5, 64)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_network_input_is_the_canvas_divided_by_255(channels):
    generator = np.random.default_rng(0)
    images = [
        generator.integers(0, 256, (height, width, channels), dtype=np.uint8)
        for height, width in ((40, 64), (64, 64), (70, 20), (1, 1))
    ]
    plans = [plan_letterbox(image.shape[1], image.shape[0], 64) for image in images]
    inputs = network_input(images, plans)
    canvases = np.stack([apply_letterbox(image, plan) for image, plan in zip(images, plans, strict=True)])
    np.testing.assert_array_equal(inputs, canvases.transpose(0, 3, 1, 2) / np.float32(255))
    assert inputs.dtype == np.float32


def test_area_is_the_mean_of_all_pixels_and_bilinear_of_four():
    image = np.zeros((32, 32, 1), np.uint8)
    image[::4, ::4] = 160
    area = apply_letterbox(image, plan_letterbox(32, 32, 8, resize="area"))
    bilinear = apply_letterbox(image, plan_letterbox(32, 32, 8, resize="bilinear"))
    assert (area == 10).all()
    assert (bilinear == 0).all()  # the four pixels in the middle of each cell


@pytest.mark.parametrize("channels", [1, 3, 5, 9])
def test_a_picture_of_any_channels_is_shrunk_channel_by_channel(channels):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, channels), dtype=np.uint8)
    resized = resize_picture(image, 17, 13)
    assert resized.shape == (13, 17, channels)
    for channel in range(channels):
        alone = resize_picture(np.ascontiguousarray(image[:, :, channel : channel + 1]), 17, 13)
        np.testing.assert_array_equal(resized[:, :, channel], alone[:, :, 0])


def test_an_enlarged_picture_is_the_same_in_both_kinds():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_picture(image, 20, 30, "area"), resize_picture(image, 20, 30, "bilinear"))


@pytest.mark.parametrize(("width", "height"), [(641, 427), (8000, 20), (10000, 10), (7, 5000), (1, 1)])
def test_a_perfect_box_comes_back_though_both_sides_are_whole_pixels(width, height):
    """Training scales the boxes by the sides that the resized picture has, so the way back must, too."""
    plan = plan_letterbox(width, height, 640)
    scales = np.array(resized_size(width, height, plan.scale) * 2) / ([width, height] * 2)
    box = np.array([[0.2, 0.3, 0.9, 0.8]]) * ([width, height] * 2)
    learned = box * scales + [plan.left, plan.top, plan.left, plan.top]
    np.testing.assert_allclose(plan.boxes_to_image(learned, width, height), box, rtol=1e-5)


def test_a_picture_may_lie_at_the_upper_left_or_fill_the_canvas():
    image = np.full((20, 40, 3), 255, np.uint8)
    corner = plan_letterbox(40, 20, 64, place="corner")
    assert (corner.left, corner.top, corner.picture_size(40, 20)) == (0, 0, (64, 32))
    assert corner.on_canvas(40, 20, 96, 96).top == 0
    assert (apply_letterbox(image, corner)[:32] == 255).all()
    assert (apply_letterbox(image, corner)[32:] == 114).all()
    whole = plan_letterbox(40, 20, 64, rect=True, place="stretch")
    assert (whole.width, whole.height, whole.picture_size(40, 20)) == (64, 64, (64, 64))
    assert (apply_letterbox(image, whole) == 255).all()
    np.testing.assert_allclose(whole.boxes_to_image([[16, 16, 32, 64]], 40, 20), [[10, 5, 20, 20]])

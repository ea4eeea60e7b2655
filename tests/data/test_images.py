"""read_image and read_image_size: every common kind of picture, upright; broken files refused in one line."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from ghostyolo.data.images import read_image, read_image_size, to_uint8
from ghostyolo.errors import DataError

RED, GREEN, BLUE, WHITE = (250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 250)


def quadrants() -> Image.Image:
    """48 wide, 32 high: red and green above, blue and white below."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24], pixels[:16, 24:], pixels[16:, :24], pixels[16:, 24:] = RED, GREEN, BLUE, WHITE
    return Image.fromarray(pixels)


def corners(image: np.ndarray) -> list[tuple[int, ...]]:
    height, width = image.shape[:2]
    places = [(height // 4, width // 4), (height // 4, 3 * width // 4)]
    places += [(3 * height // 4, width // 4), (3 * height // 4, 3 * width // 4)]
    return [tuple(image[y, x].tolist()) for y, x in places]


def close(found: list[tuple[int, ...]], expected: list[tuple[int, ...]], tolerance: int = 12) -> bool:
    return bool(np.abs(np.subtract(found, expected)).max() <= tolerance)


# What a viewer shows at upper left, upper right, lower left, lower right (Exif 2.3, tag 0x0112).
UPRIGHT = {
    1: [RED, GREEN, BLUE, WHITE],
    2: [GREEN, RED, WHITE, BLUE],
    3: [WHITE, BLUE, GREEN, RED],
    4: [BLUE, WHITE, RED, GREEN],
    5: [RED, BLUE, GREEN, WHITE],
    6: [BLUE, RED, WHITE, GREEN],
    7: [WHITE, GREEN, BLUE, RED],
    8: [GREEN, WHITE, RED, BLUE],
}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_honoured_in_pixels_and_in_size(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"picture{suffix}"
    options = {} if suffix in (".png", ".tif") else {"quality": 98}
    quadrants().save(path, exif=exif, **options)
    image = read_image(path)
    assert close(corners(image), UPRIGHT[orientation])
    size = (48, 32) if orientation < 5 else (32, 48)
    assert (image.shape[1], image.shape[0]) == size
    assert read_image_size(path) == size


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_rgb_or_grey(tmp_path, mode, channels):
    suffix = {"CMYK": ".jpg", "YCbCr": ".jpg"}.get(mode, ".png")
    path = tmp_path / f"picture{suffix}"
    # Few colours by quantize: convert would dither them into a web palette.
    picture = quadrants().quantize(8) if mode == "P" else quadrants().convert(mode)
    picture.save(path)
    image = read_image(path, channels)
    assert image.shape == (32, 48, channels)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    if mode in ("RGB", "RGBA", "P", "CMYK", "YCbCr") and channels == 3:
        assert close(corners(image), UPRIGHT[1], 30)
    else:  # the red corner is darker than the green one, white is brightest
        values = [sum(corner) for corner in corners(image)]
        assert values[3] == max(values)


def test_alpha_is_dropped_and_colours_below_are_kept():
    pixels = np.full((4, 4, 4), (200, 100, 50, 0), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, "PNG")
    assert read_image(buffer.getvalue())[0, 0].tolist() == [200, 100, 50]


@pytest.mark.parametrize("largest", [255, 1023, 4095, 16383, 65535])
def test_sixteen_bits_are_scaled_by_the_range_they_use(tmp_path, largest):
    pixels = np.array([[0, largest // 2, largest]] * 3, np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), pixels)
    expected = np.rint(pixels * (255 / largest)).astype(np.uint8)
    assert np.array_equal(read_image(tmp_path / "deep.png", 1)[:, :, 0], expected)
    assert np.array_equal(read_image(tmp_path / "deep.png")[:, :, 2], expected)


def test_sixteen_bit_colour_png_keeps_the_order_red_green_blue(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((2, 2, 3), (0, 0, 65535), np.uint16))  # OpenCV: blue first
    assert read_image(tmp_path / "deep.png")[0, 0].tolist() == [255, 0, 0]


def test_sixteen_bit_tiff(tmp_path):
    Image.fromarray(np.array([[0, 65535]] * 2, np.uint16)).save(tmp_path / "deep.tif")
    assert read_image(tmp_path / "deep.tif", 1)[0, :, 0].tolist() == [0, 255]


def test_floating_point_is_taken_as_0_to_1_or_stretched():
    assert to_uint8(np.array([0.0, 0.5, 1.0])).tolist() == [0, 128, 255]
    assert to_uint8(np.array([-1.0, 0.0, 1.0])).tolist() == [0, 128, 255]
    assert to_uint8(np.array([np.nan, 1.0])).tolist() == [0, 255]


def test_more_channels_come_from_npy(tmp_path):
    pixels = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    np.save(tmp_path / "stack.npy", pixels)
    assert np.array_equal(read_image(tmp_path / "stack.npy", 6), pixels)
    assert read_image_size(tmp_path / "stack.npy") == (5, 4)
    with pytest.raises(DataError, match="has 6 channels, the model needs 3"):
        read_image(tmp_path / "stack.npy", 3)


def test_a_pickle_in_npy_is_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"objects\.npy cannot be decoded"):
        read_image(tmp_path / "objects.npy")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_a_jpeg_cut_after_its_thumbnail_is_refused():
    # The thumbnail inside EXIF has an end marker of its own; it must not pass for the picture's.
    thumbnail, whole = io.BytesIO(), io.BytesIO()
    quadrants().save(thumbnail, "JPEG")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    exif = b"Exif\x00\x00" + b"MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00" + thumbnail.getvalue()
    image.save(whole, "JPEG", exif=exif)
    assert read_image(whole.getvalue()).shape == (64, 64, 3)
    with pytest.raises(DataError, match="truncated"):
        read_image(whole.getvalue()[:-200])


def test_a_jpeg_that_lacks_only_its_end_marker_is_read_and_one_that_lacks_pixels_is_refused():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
    whole = buffer.getvalue()
    assert whole.endswith(b"\xff\xd9")
    np.testing.assert_array_equal(read_image(whole[:-2]), read_image(whole))
    for missing in (40, len(whole) // 2):
        with pytest.raises(DataError, match="truncated"):
            read_image(whole[:-missing])


def test_bytes_after_the_end_of_a_jpeg_do_no_harm():
    buffer = io.BytesIO()
    quadrants().save(buffer, "JPEG", quality=95)
    assert close(corners(read_image(buffer.getvalue() + b"trailing" * 100)), UPRIGHT[1], 20)


@pytest.mark.parametrize("content", [b"", b"hello world", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "fake.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"fake\.jpg cannot be decoded"):
        read_image(tmp_path / "fake.jpg")
    with pytest.raises(DataError, match=r"fake\.jpg"):
        read_image_size(tmp_path / "fake.jpg")


def test_a_missing_file_is_named(tmp_path):
    for read in (read_image, read_image_size):
        with pytest.raises(DataError, match=r"none\.jpg cannot be read: No such file"):
            read(tmp_path / "none.jpg")


def test_an_array_whose_header_is_damaged_is_refused_in_one_line(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 3), np.uint8))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b"'fortran_order'", b"'fortran_orde{("))
    with pytest.raises(DataError, match="cannot be decoded") as error:
        read_image(tmp_path / "a.npy")
    assert "\n" not in str(error.value)

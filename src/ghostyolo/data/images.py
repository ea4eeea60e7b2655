"""Reads a picture of any common kind into one form.

It is (H, W, C) uint8, RGB or grey, upright.

What happens to unusual pictures:
    EXIF orientation is applied. Alpha is dropped (the colours below it are kept), as OpenCV does. CMYK and
    palettes become RGB. Of animations and multi-page files the first picture is taken. Pictures of more than
    8 bits are scaled by the range that is given, one for a data set and the model that learned from it. Without
    one, that is the smallest range of 8, 10, 12, 14 or 16 bits that holds nearly all values, since cameras store
    10 to 14 bits in 16-bit files; floating point is taken as 0..1, or from its least to its largest value when it
    goes beyond. More than three channels come from ``.npy`` files of (H, W, C) uint8 or
    uint16.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from ghostyolo.data.image_headers import Header, read_header
from ghostyolo.errors import DataError

# Kinds that cannot be read here stand among them: a picture that is passed over would be missed by nobody.
UNREAD_SUFFIXES = frozenset((".heic", ".heif", ".hif", ".jxl", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".psd"))
IMAGE_SUFFIXES = UNREAD_SUFFIXES | frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".j2k", ".jpx"),
        *(".png", ".bmp", ".dib", ".gif", ".webp", ".avif", ".tga"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".npy"),
    )
)

_JPEG_END = b"\xff\xd9"

Pixels = npt.NDArray[np.uint8]
PixelRange = tuple[float, float]
# Of so many values one may lie outside of a range: a few hot pixels must not darken a picture.
_OUTLIERS = 2000
SAMPLED_PICTURES = 50  # of a data set, for the range of its values


def read_image(
    source: str | os.PathLike[str] | bytes, channels: int = 3, pixel_range: PixelRange | None = None
) -> Pixels:
    """Decode a picture.

    Args:
        source: a file, or the bytes of one.
        channels: 3 for RGB, 1 for grey; other numbers only from ``.npy`` files that have as many.
        pixel_range: of more than 8 bits, the values that are black and white; see :func:`common_range`.

    Returns:
        (H, W, channels) uint8, contiguous.

    Raises:
        DataError: missing, broken, truncated, or with the wrong number of channels.
    """
    where, data = _read_bytes(source)
    return _fit_channels(to_uint8(_decode(data, channels, where), pixel_range), channels, where)


def common_range(sources: Sequence[str | os.PathLike[str] | bytes]) -> PixelRange | None:
    """Return the range that holds nearly all values of deep pictures.

    Those have more than 8 bits. Some fifty of the sources, evenly spread, are looked at; None where not one of them is
    deep.
    """
    ranges = []
    for source in sources[:: len(sources) // SAMPLED_PICTURES + 1]:
        try:
            where, data = _read_bytes(source)
            header = read_header(io.BytesIO(data))
            if header is None or header.bit_depth > 8:
                pixels = _decode(data, 3, where)
                if pixels.dtype not in (np.uint8, np.bool_):
                    ranges.append(_usual_range(pixels))
        except DataError:
            continue
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


def _decode(data: bytes, channels: int, where: str) -> npt.NDArray[Any]:
    if data[:6] == b"\x93NUMPY":
        return _decode_npy(data, where)
    if channels not in (1, 3):
        raise DataError(f"{where}: {channels} channels can only be read from a .npy file of shape (H, W, {channels})")
    header = read_header(io.BytesIO(data), check_whole=True)
    if header is not None and not header.whole:
        data = _with_end(data, header, where)
    if header is not None and header.whole and _opencv_reads(header):
        return _decode_opencv(data, header, channels, where)
    return _decode_pillow(data, where)


@dataclass(frozen=True)
class ImageInfo:
    """What a picture's header says.

    Attributes:
        width, height: pixels after EXIF rotation.
        orientation: EXIF value 1 to 8; from 5 on the file stores the sides the other way round.
        deep: whether a value has more than 8 bits.
        frames: pictures in the file, of which the first is read.
    """

    width: int
    height: int
    orientation: int = 1
    deep: bool = False
    frames: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) after EXIF rotation."""
        return self.width, self.height

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) as the file stores them."""
        return (self.height, self.width) if self.orientation >= 5 else self.size


def read_image_info(path: str | os.PathLike[str]) -> ImageInfo:
    """Read the header alone.

    Raises:
        DataError: the file is missing or is no picture.
    """
    where = str(path)
    try:
        with open(path, "rb") as file:
            header = read_header(file)
            if header is not None:
                return ImageInfo(*header.upright_size, header.orientation, header.bit_depth > 8)
            file.seek(0)
            return _info_of_other(file, where)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) in pixels after EXIF rotation, as :func:`read_image_info`."""
    return read_image_info(path).size


def _info_of_other(file: BinaryIO, where: str) -> ImageInfo:
    if file.read(6) == b"\x93NUMPY":
        file.seek(0)
        pixels = _decode_npy(file.read(), where)
        return ImageInfo(int(pixels.shape[1]), int(pixels.shape[0]), deep=pixels.dtype != np.uint8)
    file.seek(0)
    try:
        _refuse_unread(where)
        with Image.open(file) as image:
            orientation = image.getexif().get(0x0112, 1)
            width, height = image.size
            info = ImageInfo(width, height, 1, image.mode.startswith(("I", "F")), getattr(image, "n_frames", 1))
    except Exception as error:  # Pillow's readers raise nearly any kind on a broken file
        raise _undecodable(where, error) from error
    if orientation == 1:
        return info
    # Pillow's versions differ in whether a rotated TIFF's header size is already turned, so these few are
    # decoded.
    file.seek(0)
    height, width = _decode_pillow(file.read(), where).shape[:2]
    turned = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
    return replace(info, width=int(width), height=int(height), orientation=turned)


def _read_bytes(source: str | os.PathLike[str] | bytes) -> tuple[str, bytes]:
    if isinstance(source, bytes | bytearray | memoryview):
        where, data = f"a picture of {len(source)} bytes", bytes(source)
    else:
        where = str(source)
        try:
            data = Path(source).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise DataError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not data:
        raise DataError(f"{where} cannot be decoded: the file is empty")
    return where, data


# OpenCV 4.11 and later decode to RGB at once.
_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)
_COLOR = cv2.IMREAD_COLOR if _RGB is None else _RGB


def _opencv_reads(header: Header) -> bool:
    # CMYK in JPEG needs Adobe's inversion rule, which Pillow knows.
    return header.kind == "png" or (header.channels in (1, 3) and header.bit_depth == 8)


def _decode_opencv(data: bytes, header: Header, channels: int, where: str) -> npt.NDArray[Any]:
    if header.bit_depth > 8:
        flags = cv2.IMREAD_UNCHANGED
    else:
        flags = cv2.IMREAD_GRAYSCALE if channels == 1 else _COLOR
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise DataError(f"{where} cannot be decoded: {error.err or 'OpenCV refuses it'}") from error
    if pixels is None:
        raise DataError(f"{where} cannot be decoded: the file is damaged")
    if pixels.ndim == 3 and pixels.shape[2] == 3 and flags != _RGB:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    elif pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)
    return _upright(pixels, header.orientation)


def _decode_pillow(data: bytes, where: str) -> npt.NDArray[Any]:
    try:
        _refuse_unread(where)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as opened:
                opened.load()
                image = ImageOps.exif_transpose(opened)
                if image.mode.startswith(("I", "F")):
                    return np.array(image)
                return np.array(image.convert("L" if image.mode in ("L", "1") else "RGB"))
    except Exception as error:  # Pillow's readers raise nearly any kind on a broken file
        raise _undecodable(where, error) from error


def _refuse_unread(where: str) -> None:
    # Most raw files of cameras are TIFF files that begin with a small preview, which Pillow would take.
    if Path(where).suffix.lower() in UNREAD_SUFFIXES:
        raise UnidentifiedImageError


def _undecodable(where: str, error: Exception) -> DataError:
    suffix = Path(where).suffix.lower()
    if suffix in UNREAD_SUFFIXES:
        return DataError(f"{where} cannot be decoded: {suffix} pictures are not read; convert it to JPEG or PNG")
    if isinstance(error, UnidentifiedImageError):
        return DataError(f"{where} cannot be decoded: it is not a picture of a known kind")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{where} cannot be decoded: {reason}")


def _with_end(data: bytes, header: Header, where: str) -> bytes:
    """Return a file that lacks only its end, with one.

    Raises:
        DataError: pixels are missing, too.
    """
    if header.kind == "png":
        return data  # Pillow reads it without its end, and refuses it where pixels are missing
    # What follows the last pixel changes nothing; where pixels are missing, it is decoded as some.
    data = data.rstrip(b"\xff")
    ends = [_decode_pillow(data + bytes([value]) * 64 + _JPEG_END, where) for value in (0x00, 0x55, 0xAA)]
    if not all(np.array_equal(end, ends[0]) for end in ends[1:]):
        raise DataError(f"{where} cannot be decoded: the file is truncated")
    return data + _JPEG_END


def _decode_npy(data: bytes, where: str) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # its header is read as Python code, so nearly any kind
        raise _undecodable(where, error) from error
    if array.ndim not in (2, 3) or 0 in array.shape or array.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{where}: expected an array (H, W, C) of uint8 or uint16, got {array.shape} {array.dtype}")
    return array


def _fit_channels(pixels: Pixels, channels: int, where: str) -> Pixels:
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    stored = pixels.shape[2]
    if channels in (1, 3) and stored in (2, 4):  # the last one is alpha
        pixels = pixels[:, :, : stored - 1]
        stored -= 1
    if stored == channels:
        return np.ascontiguousarray(pixels)
    if stored == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if stored == 3 and channels == 1:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None]
    raise DataError(f"{where} has {stored} channels, the model needs {channels}")


def to_uint8(pixels: npt.NDArray[Any], pixel_range: PixelRange | None = None) -> Pixels:
    """Scale pixels of any number type to uint8.

    By the rule in the module's docstring; the shape stays.

    Not-a-number counts as 0.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    low, high = pixel_range or _usual_range(pixels)
    scaled = (_finite(pixels) - low) * (255 / max(high - low, 1e-12))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def _usual_range(pixels: npt.NDArray[Any]) -> PixelRange:
    """Return the values that are black and white in one picture of more than 8 bits."""
    values = np.sort(_finite(pixels), axis=None)
    outliers = len(values) // _OUTLIERS + (len(values) >= 100)
    low, high = float(values[outliers]), float(values[len(values) - 1 - outliers])
    if pixels.dtype.kind == "f" and low >= 0 and high <= 1:
        return 0.0, 1.0
    if pixels.dtype.kind in "iu" and low >= 0 and high < 2**16:
        return 0.0, float(next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if high < 2**bits))
    return low, high


def _finite(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(pixels.astype(np.float64), posinf=0.0, neginf=0.0)


def _upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn pixels (H, W[, C]) stored with an EXIF orientation 1..8 the right way up."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels

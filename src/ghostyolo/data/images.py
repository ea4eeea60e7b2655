"""Reads a picture of any common kind into one form.

It is (H, W, C) uint8, RGB or grey, upright.

What happens to unusual pictures:
    EXIF orientation is applied. Alpha is dropped (the colours below it are kept), as OpenCV does. CMYK and
    palettes become RGB. Of animations and multi-page files the first picture is taken. 16-bit pictures are
    scaled by the smallest range of 8, 10, 12, 14 or 16 bits that holds their largest value, since cameras
    store 10 to 14 bits in 16-bit files; floating point is taken as 0..1, or stretched from its minimum to
    its maximum when it goes beyond. More than three channels come from ``.npy`` files of (H, W, C) uint8 or
    uint16.
"""

from __future__ import annotations

import io
import os
import warnings
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

Pixels = npt.NDArray[np.uint8]


def read_image(source: str | os.PathLike[str] | bytes, channels: int = 3) -> Pixels:
    """Decode a picture.

    Args:
        source: a file, or the bytes of one.
        channels: 3 for RGB, 1 for grey; other numbers only from ``.npy`` files that have as many.

    Returns:
        (H, W, channels) uint8, contiguous.

    Raises:
        DataError: missing, broken, truncated, or with the wrong number of channels.
    """
    where, data = _read_bytes(source)
    if data[:6] == b"\x93NUMPY":
        return _fit_channels(_decode_npy(data, where), channels, where)
    if channels not in (1, 3):
        raise DataError(f"{where}: {channels} channels can only be read from a .npy file of shape (H, W, {channels})")
    header = read_header(io.BytesIO(data), check_whole=True)
    if header is not None and not header.whole:
        raise DataError(f"{where} cannot be decoded: the file is truncated")
    if header is not None and _opencv_reads(header):
        pixels = _decode_opencv(data, header, channels, where)
    else:
        pixels = _decode_pillow(data, where)
    return _fit_channels(pixels, channels, where)


def read_image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) in pixels after EXIF rotation, from the header alone.

    Raises:
        DataError: the file is missing or is no picture.
    """
    where = str(path)
    try:
        with open(path, "rb") as file:
            header = read_header(file)
            if header is not None:
                return header.upright_size
            file.seek(0)
            return _size_of_other(file, where)
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror or error}") from error


def _size_of_other(file: BinaryIO, where: str) -> tuple[int, int]:
    if file.read(6) == b"\x93NUMPY":
        file.seek(0)
        height, width = _decode_npy(file.read(), where).shape[:2]
        return int(width), int(height)
    file.seek(0)
    try:
        _refuse_unread(where)
        with Image.open(file) as image:
            if image.getexif().get(0x0112, 1) == 1:
                return image.size
    except Exception as error:  # Pillow's readers raise nearly any kind on a broken file
        raise _undecodable(where, error) from error
    # Pillow's versions differ in whether a rotated TIFF's header size is already turned, so these few are
    # decoded.
    file.seek(0)
    height, width = _decode_pillow(file.read(), where).shape[:2]
    return int(width), int(height)


def _read_bytes(source: str | os.PathLike[str] | bytes) -> tuple[str, bytes]:
    if isinstance(source, bytes | bytearray | memoryview):
        where, data = f"a picture of {len(source)} bytes", bytes(source)
    else:
        where = str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise DataError(f"{where} cannot be read: {error.strerror or error}") from error
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


def _decode_npy(data: bytes, where: str) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{where} cannot be decoded: {str(error).splitlines()[0]}") from error
    if array.ndim not in (2, 3) or 0 in array.shape or array.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{where}: expected an array (H, W, C) of uint8 or uint16, got {array.shape} {array.dtype}")
    return array


def _fit_channels(pixels: npt.NDArray[Any], channels: int, where: str) -> Pixels:
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    pixels = to_uint8(pixels)
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


def to_uint8(pixels: npt.NDArray[Any]) -> Pixels:
    """Scale pixels of any number type to uint8; the shape stays.

    By the rule in the module's docstring.

    Not-a-number counts as 0.
    """
    if pixels.dtype == np.uint8:
        return pixels
    values = np.nan_to_num(pixels.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if pixels.dtype == np.bool_ or (pixels.dtype.kind == "f" and low >= 0 and high <= 1):
        return np.rint(values * 255).astype(np.uint8)
    if pixels.dtype.kind in "iu" and low >= 0 and high < 2**16:
        bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 2**bits)
        return np.rint(values * (255 / (2**bits - 1))).astype(np.uint8)
    return np.rint((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def _upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn pixels (H, W[, C]) stored with an EXIF orientation 1..8 the right way up."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels

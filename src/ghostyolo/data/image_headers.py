"""What a JPEG or PNG file says of itself before its pixels.

Size, EXIF orientation, depth, wholeness.

Reading the header alone is about a hundred times faster than decoding, and one parser for the orientation
keeps ``read_image_size`` and ``read_image`` in agreement. Sources: ITU T.81 annex B (JPEG markers), the PNG
specification section 5 (chunks), Exif 2.3 tag 0x0112.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ORIENTATION_TAG = 0x0112
# Start-of-frame markers are C0..CF without C4 (Huffman tables), C8 (reserved) and CC (arithmetic
# conditioning).
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD8)))


@dataclass(frozen=True)
class Header:
    """Facts from the header.

    Attributes:
        kind: ``"jpeg"`` or ``"png"``.
        width, height: pixels as stored, before the orientation is applied.
        orientation: EXIF value 1..8; 5..8 swap the sides.
        channels: components as stored: 1, 2 (grey + alpha), 3 or 4 (PNG: RGBA, JPEG: CMYK); a palette is 3.
        bit_depth: bits of one component.
        whole: False when the file ends before its pixels do.
    """

    kind: str
    width: int
    height: int
    orientation: int
    channels: int
    bit_depth: int
    whole: bool

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) after the orientation is applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(file: BinaryIO, check_whole: bool = False) -> Header | None:
    """Read a header.

    Args:
        file: opened at its first byte.
        check_whole: also look for the end-of-image marker of a JPEG, which reads the rest of the file.

    Returns:
        None when the file is neither JPEG nor PNG, or its header is broken.
    """
    start = file.read(8)
    file.seek(0)
    try:
        if start[:2] == b"\xff\xd8":
            return _jpeg_header(file, check_whole)
        if start == _PNG_SIGNATURE:
            return _png_header(file)
    except (struct.error, IndexError):
        return None
    return None


def exif_orientation(exif: bytes) -> int:
    """Return the EXIF orientation 1..8; 1 (upright) where it is absent or nonsense."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow's TIFF parser raises many kinds on damaged EXIF; the pixels are still good
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _jpeg_header(file: BinaryIO, check_whole: bool) -> Header | None:
    file.seek(2)
    frame: tuple[int, int, int, int] | None = None
    orientation = 1
    while True:
        byte = file.read(1)
        if not byte:
            return None
        if byte != b"\xff":
            continue
        marker = 0xFF
        while marker == 0xFF:
            marker = file.read(1)[0]
        if marker in _BARE_MARKERS or marker == 0:
            continue
        if marker in (0xDA, 0xD9):  # scan data, or the end
            break
        (length,) = struct.unpack(">H", file.read(2))
        if marker in _FRAME_MARKERS:
            bits, height, width, components = struct.unpack(">BHHB", file.read(6))
            frame = (width, height, components, bits)
            file.seek(length - 8, os.SEEK_CUR)
        elif marker == 0xE1:
            payload = file.read(length - 2)
            if payload.startswith(b"Exif\x00\x00"):
                orientation = exif_orientation(payload)
        else:
            file.seek(length - 2, os.SEEK_CUR)
    if frame is None or frame[0] == 0 or frame[1] == 0:
        return None
    # Inside scan data FF is always escaped, so FF D9 after the scan began is the true end; a thumbnail's
    # lies before.
    whole = not check_whole or b"\xff\xd9" in file.read()
    return Header("jpeg", frame[0], frame[1], orientation, frame[2], frame[3], whole)


def _png_header(file: BinaryIO) -> Header | None:
    end = file.seek(0, os.SEEK_END)
    file.seek(8)
    size: tuple[int, int] | None = None
    bit_depth = colour = 0
    orientation = 1
    whole = False
    while True:
        start = file.read(8)
        if len(start) < 8:
            break
        length, kind = struct.unpack(">I4s", start)
        after = file.tell() + length + 4
        if kind == b"IHDR":
            width, height, bit_depth, colour = struct.unpack(">IIBB", file.read(10))
            size = (width, height)
        elif kind == b"eXIf" and after <= end:
            orientation = exif_orientation(file.read(length))
        elif kind == b"IEND":
            whole = after <= end
            break
        if after > end:
            break
        file.seek(after)
    if size is None or 0 in size:
        return None
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(colour, 3)
    return Header("png", size[0], size[1], orientation, channels, bit_depth, whole)

"""Everything a detector can look at, as one stream of frames.

Pictures, folders, globs, ``http(s)`` addresses, video files, numpy arrays and PIL images. Frames hold (H, W,
C) uint8, RGB. Pictures are read one at a time, so a folder or video of any length fits in memory. What cannot be
read, and what is passed over, is kept and counted: nothing is left out in silence.
"""

from __future__ import annotations

import functools
import glob
import http.client
import os
import re
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.images import IMAGE_SUFFIXES, PixelRange, common_range, read_image, read_image_info, to_uint8
from ghostyolo.data.listing import describe_passed, list_files
from ghostyolo.errors import DataError, SourceError
from ghostyolo.text import masked

if TYPE_CHECKING:
    from PIL import Image

Source = Union[str, Path, npt.NDArray[Any], "Image.Image"]

VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts"))
URL_TIMEOUT_SECONDS = 30
SLOWEST_BYTES_A_SECOND = 1000
MAX_DOWNLOAD_BYTES = 1 << 30
_ASSUMED_FPS = 25.0
# Containers that say how many frames they hold; of the others the number is worked out from the length in seconds.
_COUNTED_SUFFIXES = frozenset((".mp4", ".mov", ".m4v", ".avi"))
_GIVE_UP_AFTER = 250  # damaged frames in a row
# Kinds of files that may hold several pictures, of which the first is taken.
_PAGED_SUFFIXES = frozenset((".tif", ".tiff", ".gif", ".webp", ".avif", ".png"))
_URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class Frame:
    """One picture, or one frame of a video.

    Attributes:
        image: (H, W, C) uint8, RGB (or as many channels as the network takes, when more than three).
        name: file name, last part of the address, or ``"image-3"`` for the fourth source when it is an array.
        path: the local file, if there is one.
        frame_index: position in its video from 0; None for a picture.
        fps: frames a second of its video; None for a picture.
    """

    image: npt.NDArray[np.uint8] = field(repr=False)
    name: str
    path: Path | None = None
    frame_index: int | None = None
    fps: float | None = None


@dataclass(frozen=True)
class Fault:
    """A source that could not be read, or not to its end.

    Attributes:
        source: the local path or address, else the name.
        name: as in :class:`Frame`.
        reason: what is wrong.
        frames: (read, in all) of a video of which some frames could be read; else None.
    """

    source: str
    name: str
    reason: str
    frames: tuple[int, int] | None = None


class Sources:
    """Iterate over the frames of one or more sources.

    They come in the order given, of folders and globs in name order. What is named is looked up at once, so a mistyped
    path is reported before any work; pictures are opened while iterating. A picture or video that cannot be read is
    skipped and kept in ``faults``, unless it is the only one. Of a damaged video the frames that can be read are given,
    and their number is kept there.

    Args:
        sources: one source or several.
        channels: what the network takes when more than three (from ``.npy`` files and arrays), else 3.
        pixel_range: of pictures of more than 8 bits, the values that are black and white; None: one for all the files.
        bgr: arrays have blue first, as OpenCV gives them.

    Attributes:
        faults: what could not be read so far, in whole or in part.
        passed: how many files of folders, or pages of pictures, were not looked at, by reason.
        paths: the local files among the sources.

    Raises:
        SourceError: a missing path, a folder without pictures, a glob that matches nothing; while iterating:
            nothing at all could be read.
    """

    def __init__(
        self,
        sources: Source | Iterable[Source],
        channels: int = 3,
        pixel_range: PixelRange | None = None,
        *,
        bgr: bool = False,
    ) -> None:
        self.faults: list[Fault] = []
        self._bgr = bgr
        self._channels = channels
        self._pixel_range = pixel_range
        self._items: list[Any] = []
        self._listed: Counter[str] = Counter()
        given = [sources] if _is_single(sources) else list(sources)  # type: ignore[arg-type]
        if not given:
            raise SourceError("no sources given: name a picture, folder, glob, video or URL")
        for source in given:
            self._items.extend(self._expand(source) if isinstance(source, str | Path) else [source])
        self.passed = Counter(self._listed)
        self.paths = [item for item in self._items if isinstance(item, Path)]

    def __len__(self) -> int:
        """Number of pictures and videos (a video counts once)."""
        return len(self._items)

    def __iter__(self) -> Iterator[Frame]:
        """Read one frame after the other."""
        self.faults, self.passed = [], Counter(self._listed)
        any_read = False
        for index, item in enumerate(self._items):
            try:
                for frame in self._frames(item, index):
                    any_read = True
                    yield frame
            except (DataError, SourceError) as error:
                if len(self._items) == 1:
                    raise SourceError(str(error)) from error
                name = _name(item, index)
                source = masked(str(item)) if isinstance(item, str | Path) else name
                self.faults.append(Fault(source, name, str(error)))
        if not any_read:
            raise SourceError(f"none of the {len(self._items)} sources can be read; the first: {self.faults[0].reason}")

    @functools.cached_property
    def expected_frames(self) -> int:
        """Pictures, and frames of videos as far as their headers say.

        A video of unknown length counts once.
        """
        return sum(_frames_in_header(item) for item in self._items)

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(name, reason) of each source of which nothing could be read."""
        return [(fault.name, fault.reason) for fault in self.faults if fault.frames is None]

    def missing(self) -> list[str]:
        """Return a line for each source that was not read to its end.

        There is one more for what was passed over.
        """
        lines = [f"skipped {name}: {reason}" for name, reason in self.skipped]
        if self.skipped:
            lines.append(f"{len(self.skipped)} of {len(self)} sources were skipped")
        lines += [f"incomplete {fault.name}: {fault.reason}" for fault in self.faults if fault.frames]
        if self.passed:
            lines.append(f"passed over: {describe_passed(self.passed)}")
        return lines

    def _frames(self, item: Any, index: int) -> Iterator[Frame]:
        name = _name(item, index)
        if isinstance(item, Path):
            if item.suffix.lower() in VIDEO_SUFFIXES:
                yield from self._video_frames(item, str(item), name, item)
            else:
                image = read_image(item, self._channels, self._range_of(item))
                if (more := _further_pages(item)) > 0:
                    self.passed["further pages or frames of a picture"] += more
                yield Frame(image, name, item)
        elif isinstance(item, str):
            yield from self._url_frames(item, name)
        elif isinstance(item, np.ndarray):
            image = _array_to_image(item, name, self._pixel_range)
            yield Frame(reverse_colours(image) if self._bgr else image, name)
        elif _is_pil(item):
            yield Frame(_pil_to_image(item, self._pixel_range), name)
        else:
            raise SourceError(
                f"{name}: a source is a path, glob, URL, numpy array or PIL image, not {type(item).__name__}"
            )

    def _range_of(self, path: Path) -> PixelRange | None:
        # Pictures of one camera keep one scale, so it is settled once, for all files.
        suffix = path.suffix.lower()
        if self._pixel_range is None and suffix not in (".jpg", ".jpeg") and read_image_info(path).deep:
            self._pixel_range = common_range([item for item in self.paths if item.suffix.lower() == suffix])
        return self._pixel_range

    def _url_frames(self, url: str, name: str) -> Iterator[Frame]:
        data = _download(url)
        suffix = Path(name).suffix.lower()
        if suffix not in VIDEO_SUFFIXES:
            try:
                yield Frame(read_image(data, self._channels, self._pixel_range), name)
            except DataError as error:
                raise SourceError(f"{masked(url)}: {error}") from error
            return
        with tempfile.TemporaryDirectory() as folder:  # OpenCV reads videos from files only
            path = Path(folder) / f"video{suffix}"
            path.write_bytes(data)
            yield from self._video_frames(path, masked(url), name, None)

    def _video_frames(self, path: Path, source: str, name: str, local: Path | None) -> Iterator[Frame]:
        """The frames that can be read; those behind a damaged one too, under their position in the video."""
        # The decoder prints its own complaints about damaged files; ours is the one line to see.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        if not is_text(path):  # OpenCV crashes on such a name
            with tempfile.TemporaryDirectory() as folder:
                link = Path(folder) / f"video{path.suffix}"
                link.symlink_to(path.resolve())
                yield from self._video_frames(link, source, name, local)
            return
        capture = cv2.VideoCapture(str(path))
        read = position = failures = 0  # frames given, the place of the next one, and failures since the last
        damaged, latest = False, 0.0
        try:
            fps = capture.get(cv2.CAP_PROP_FPS)
            fps = fps if 0 < fps < 1e4 else _ASSUMED_FPS
            stated = _stated_frames(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            while True:
                success, picture = capture.read()
                if success:
                    milliseconds, failures = capture.get(cv2.CAP_PROP_POS_MSEC), 0
                    if damaged:  # the decoder passes over what it cannot read: only the time says where it is
                        if milliseconds < latest:
                            continue  # put together from frames that lack others
                        position = max(position, round(milliseconds * fps / 1000))
                    latest = milliseconds
                    yield Frame(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), name, local, position, fps)
                    read, position = read + 1, position + 1
                else:
                    damaged, failures = True, failures + 1
                    if position + failures > stated or failures > _GIVE_UP_AFTER:
                        break
        finally:
            capture.release()
        if read == 0:
            raise SourceError(f"{source} cannot be read as a video: damaged, or of an unknown codec")
        total = max(stated, position)
        # A frame or two, or a number worked out from the sound's length, is no damage.
        tolerated = 0 if path.suffix.lower() in _COUNTED_SUFFIXES else max(2, total // 20)
        if read < position or total - read > tolerated:
            reason = f"{read} of {total} frames could be read; the file is damaged or cut"
            self.faults.append(Fault(source, name, reason, (read, total)))

    def _expand(self, source: str | Path) -> list[Path | str]:
        text = str(source)
        if is_url(text):
            return [text]
        if not text:
            raise SourceError("a source has no name: name a picture, folder, glob, video or URL")
        path = Path(os.path.expanduser(text))
        # Those of os.path say no to a name that no file system takes; Path's raise.
        if os.path.isdir(path):
            listing = list_files(path, IMAGE_SUFFIXES | VIDEO_SUFFIXES, deep=False)
            self._listed.update(listing.passed)
            if not listing.files:
                seen = f" (passed over: {describe_passed(listing.passed)})" if listing.passed else ""
                raise SourceError(
                    f"{text} holds no pictures or videos{seen}; for subfolders give '{path / '**' / '*.jpg'}' in quotes"
                )
            return list(listing.files)
        if os.path.exists(path):
            return [path]
        if glob.has_magic(text):
            matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
            matches = [match for match in matches if match.is_file()]
            if not matches:
                raise SourceError(f"nothing matches {text}")
            return list(matches)
        if is_stream(text):
            raise SourceError(f"{masked(text)} is a camera or a stream: ghostyolo watch reads it")
        raise SourceError(f"{text} does not exist")


def continues(previous: Frame | None, frame: Frame) -> bool:
    """Whether a frame follows the frame before it in one video."""
    return (
        previous is not None
        and previous.frame_index is not None
        and frame.frame_index is not None
        and (previous.path, previous.name) == (frame.path, frame.name)
        and previous.frame_index < frame.frame_index
    )


def is_text(path: Path) -> bool:
    """Whether a path is Unicode; other bytes in it are Python's surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in str(path))


def is_url(text: str) -> bool:
    """Whether a source is an http or https address."""
    return _URL.match(text) is not None


def is_stream(text: str) -> bool:
    """Whether a source is a camera's number or an address, of any protocol."""
    return text.isdecimal() or "://" in text


def reverse_colours(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Turn BGR into RGB and BGRA into RGBA; leave other pictures."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] not in (3, 4):
        return image
    return np.ascontiguousarray(image[:, :, [2, 1, 0, 3][: image.shape[2]]])


def _is_single(sources: Any) -> bool:
    if isinstance(sources, str | Path | np.ndarray) or _is_pil(sources):
        return True
    if not isinstance(sources, Iterable):
        raise SourceError(
            f"a source is a path, glob, URL, numpy array or PIL image, or several of them, not {type(sources).__name__}"
        )
    return False


def _frames_in_header(item: Any) -> int:
    if not isinstance(item, Path) or item.suffix.lower() not in VIDEO_SUFFIXES or not is_text(item):
        return 1
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    capture = cv2.VideoCapture(str(item))
    count = _stated_frames(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return count or 1


def _stated_frames(count: float) -> int:
    return int(count) if 0 < count < 1e9 else 0


def _further_pages(path: Path) -> int:
    """Pages or animation frames of a picture behind the first."""
    if path.suffix.lower() not in _PAGED_SUFFIXES:
        return 0
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return int(getattr(picture, "n_frames", 1)) - 1
    except Exception:  # Pillow's readers raise nearly any kind; whether the picture can be read is not asked here
        return 0


def _is_pil(source: Any) -> bool:
    from PIL import Image

    return isinstance(source, Image.Image)


def _name(item: Any, index: int) -> str:
    if isinstance(item, Path):
        return item.name
    if isinstance(item, str):
        place = item.partition("//")[2].partition("?")[0].partition("#")[0].partition("/")[2]
        return Path(urllib.parse.unquote(place)).name or f"image-{index}"
    return f"image-{index}"


def _array_to_image(array: npt.NDArray[Any], name: str, pixel_range: PixelRange | None) -> npt.NDArray[np.uint8]:
    if array.dtype not in (np.uint8, np.uint16) or array.ndim not in (2, 3) or 0 in array.shape:
        raise SourceError(
            f"{name}: an array must be (H, W) or (H, W, C) of uint8 or uint16, RGB; this one is "
            f"{array.shape} of {array.dtype}"
        )
    image = to_uint8(array, pixel_range)
    return image[:, :, None] if image.ndim == 2 else image


def _pil_to_image(picture: Image.Image, pixel_range: PixelRange | None) -> npt.NDArray[np.uint8]:
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):  # 16 bits and more: PIL's own conversion would clip them to 255
        return np.repeat(to_uint8(np.asarray(upright), pixel_range)[:, :, None], 3, axis=2)
    return np.array(upright.convert("RGB"))


def _download(url: str) -> bytes:
    from ghostyolo._version import __version__

    shown = masked(url)
    try:
        # Some servers refuse Python's own user agent.
        request = urllib.request.Request(_ascii_url(url), headers={"User-Agent": f"ghostyolo/{__version__}"})
        start = time.monotonic()
        with urllib.request.urlopen(request, timeout=URL_TIMEOUT_SECONDS) as response:
            data = bytearray()
            while part := response.read1(1 << 16):
                data += part
                seconds = time.monotonic() - start
                if len(data) > MAX_DOWNLOAD_BYTES:
                    raise SourceError(f"{shown} is larger than 1 GiB: download it and give its path")
                if seconds > URL_TIMEOUT_SECONDS and len(data) < seconds * SLOWEST_BYTES_A_SECOND:
                    raise SourceError(f"{shown} cannot be fetched: only {len(data)} bytes in {seconds:.0f} seconds")
            if response.length:  # what is still to come of the length that was announced
                raise SourceError(f"{shown} cannot be fetched: the connection was cut after {len(data)} bytes")
            return bytes(data)
    # URLError and timeouts are OSErrors, malformed addresses ValueErrors, malformed answers HTTPExceptions.
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        raise SourceError(f"{shown} cannot be fetched: {masked(' '.join(reason.split()))}") from error


def _ascii_url(url: str) -> str:
    """The address as it is sent: spaces and letters outside ASCII escaped, what is escaped already left so."""
    parts = urllib.parse.urlsplit(url.strip())
    user, at, place = parts.netloc.rpartition("@")
    host = place if place.isascii() else place.encode("idna").decode("ascii")
    safe = "!#$%&'()*+,/:;=?@[]~"
    path, query = urllib.parse.quote(parts.path, safe), urllib.parse.quote(parts.query, safe)
    return urllib.parse.urlunsplit((parts.scheme, f"{urllib.parse.quote(user, safe)}{at}{host}", path, query, ""))

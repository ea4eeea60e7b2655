"""Everything a detector can look at, as one stream of frames.

Pictures, folders, globs, ``http(s)`` addresses, video files, numpy arrays and PIL images. Frames hold (H, W,
C) uint8, RGB. Pictures are read one at a time, so a folder or video of any length fits in memory.
"""

from __future__ import annotations

import glob
import os
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.images import IMAGE_SUFFIXES, read_image, to_uint8
from ghostyolo.errors import DataError, SourceError

if TYPE_CHECKING:
    from PIL import Image

Source = Union[str, Path, npt.NDArray[Any], "Image.Image"]

VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts"))
URL_TIMEOUT_SECONDS = 30
MAX_DOWNLOAD_BYTES = 1 << 30
_ASSUMED_FPS = 25.0


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

    image: npt.NDArray[np.uint8]
    name: str
    path: Path | None = None
    frame_index: int | None = None
    fps: float | None = None


class Sources:
    """Iterate over the frames of one or more sources, in the order given; folders and globs in name order.

    What is named is looked up at once, so a mistyped path is reported before any work; pictures are opened
    while iterating. A picture or video that cannot be read is skipped and kept in ``skipped``, unless it is
    the only one.

    Args:
        sources: one source or several.
        channels: what the network takes when more than three (from ``.npy`` files and arrays), else 3.

    Attributes:
        skipped: (name, reason) of each that could not be read so far.
        paths: the local files among the sources.

    Raises:
        SourceError: a missing path, a folder without pictures, a glob that matches nothing; while iterating:
            nothing at all could be read.
    """

    def __init__(self, sources: Source | Iterable[Source], channels: int = 3) -> None:
        self.skipped: list[tuple[str, str]] = []
        self._channels = channels
        single = isinstance(sources, str | Path | np.ndarray) or _is_pil(sources)
        given: list[Any] = [sources] if single else list(sources)  # type: ignore[arg-type]
        if not given:
            raise SourceError("no sources given: name a picture, folder, glob, video or URL")
        self._items: list[Any] = []
        for source in given:
            self._items.extend(_expand(source) if isinstance(source, str | Path) else [source])
        self.paths = [item for item in self._items if isinstance(item, Path)]

    def __len__(self) -> int:
        """Number of pictures and videos (a video counts once)."""
        return len(self._items)

    def __iter__(self) -> Iterator[Frame]:
        """Read one frame after the other."""
        self.skipped = []
        any_read = False
        for index, item in enumerate(self._items):
            try:
                for frame in self._frames(item, index):
                    any_read = True
                    yield frame
            except (DataError, SourceError) as error:
                if len(self._items) == 1:
                    raise SourceError(str(error)) from error
                self.skipped.append((_name(item, index), str(error)))
        if not any_read:
            raise SourceError(f"none of the {len(self._items)} sources can be read; the first: {self.skipped[0][1]}")

    def _frames(self, item: Any, index: int) -> Iterator[Frame]:
        name = _name(item, index)
        if isinstance(item, Path):
            if item.suffix.lower() in VIDEO_SUFFIXES:
                yield from _video_frames(item, name, item)
            else:
                yield Frame(read_image(item, self._channels), name, item)
        elif isinstance(item, str):
            yield from self._url_frames(item, name)
        elif isinstance(item, np.ndarray):
            yield Frame(_array_to_image(item, name), name)
        elif _is_pil(item):
            yield Frame(_pil_to_image(item), name)
        else:
            raise SourceError(
                f"{name}: a source is a path, glob, URL, numpy array or PIL image, not {type(item).__name__}"
            )

    def _url_frames(self, url: str, name: str) -> Iterator[Frame]:
        data = _download(url)
        suffix = Path(name).suffix.lower()
        if suffix not in VIDEO_SUFFIXES:
            try:
                yield Frame(read_image(data, self._channels), name)
            except DataError as error:
                raise SourceError(f"{url}: {error}") from error
            return
        with tempfile.TemporaryDirectory() as folder:  # OpenCV reads videos from files only
            path = Path(folder) / f"video{suffix}"
            path.write_bytes(data)
            yield from _video_frames(path, name, None)


def is_url(text: str) -> bool:
    """Whether a source is an http or https address."""
    return text.startswith(("http://", "https://"))


def _expand(source: str | Path) -> list[Path | str]:
    text = str(source)
    if is_url(text):
        return [text]
    path = Path(text).expanduser()
    if path.is_dir():
        found = sorted(item for item in path.iterdir() if _is_media(item))
        if not found:
            raise SourceError(
                f"{text} holds no pictures or videos; for subfolders give '{path / '**' / '*.jpg'}' in quotes"
            )
        return list(found)
    if path.exists():
        return [path]
    if glob.has_magic(text):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        matches = [match for match in matches if match.is_file()]
        if not matches:
            raise SourceError(f"nothing matches {text}")
        return list(matches)
    raise SourceError(f"{text} does not exist")


def _is_media(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.suffix.lower() in (IMAGE_SUFFIXES | VIDEO_SUFFIXES)


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


def _array_to_image(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    if array.dtype not in (np.uint8, np.uint16) or array.ndim not in (2, 3) or 0 in array.shape:
        raise SourceError(
            f"{name}: an array must be (H, W) or (H, W, C) of uint8 or uint16, RGB; this one is "
            f"{array.shape} of {array.dtype}"
        )
    image = to_uint8(array)
    return image[:, :, None] if image.ndim == 2 else image


def _pil_to_image(picture: Image.Image) -> npt.NDArray[np.uint8]:
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):  # 16 bits and more: PIL's own conversion would clip them to 255
        return np.repeat(to_uint8(np.asarray(upright))[:, :, None], 3, axis=2)
    return np.array(upright.convert("RGB"))


def _download(url: str) -> bytes:
    from ghostyolo._version import __version__

    try:
        # Some servers refuse Python's own user agent.
        request = urllib.request.Request(url, headers={"User-Agent": f"ghostyolo/{__version__}"})
        with urllib.request.urlopen(request, timeout=URL_TIMEOUT_SECONDS) as response:
            data: bytes = response.read(MAX_DOWNLOAD_BYTES + 1)
    except (
        OSError,
        ValueError,
    ) as error:  # URLError and timeouts are OSErrors; ValueError: a malformed address
        raise SourceError(f"{url} cannot be fetched: {getattr(error, 'reason', None) or error}") from error
    if len(data) > MAX_DOWNLOAD_BYTES:
        raise SourceError(f"{url} is larger than 1 GiB: download it and give its path")
    return data


def _video_frames(path: Path, name: str, local: Path | None) -> Iterator[Frame]:
    # The decoder prints its own complaints about damaged files; ours is the one line to see.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    capture = cv2.VideoCapture(str(path))
    try:
        fps = capture.get(cv2.CAP_PROP_FPS) or _ASSUMED_FPS
        index = 0
        while True:
            read, picture = capture.read()
            if not read:
                break
            yield Frame(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), name, local, index, fps)
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise SourceError(f"{local or name} cannot be read as a video: damaged, or of an unknown codec")

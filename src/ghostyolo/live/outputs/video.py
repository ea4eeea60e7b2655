"""Annotated video that is playable at any time.

A kill or a full disk costs its last second: MP4 and Matroska are written in parts of a second, each whole in itself.
Frames keep the times at which they came, so that a rate that changes or lies plays at its true speed.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.errors import OutputError
from ghostyolo.files import free_stem
from ghostyolo.live.outputs.output import Output
from ghostyolo.live.prediction import LivePrediction

_TIME_BASE = Fraction(1, 1000)
_KEY_FRAME_EVERY = 60  # frames, so that a player can jump, and a fragment that is lost costs little
# Parts of a second, in the units of each container: what a kill can cost.
_OPTIONS = {
    ".mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "1000000"},
    ".mkv": {"cluster_time_limit": "1000"},
}
# The best of those that FFmpeg was built with; the last is always there.
_CODECS = (
    ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "crf": "24"}),
    ("mpeg4", {"qscale": "5"}),
)


class Videos(Output):
    """A video of each source.

    Args:
        path: ``NAME.mp4`` or ``NAME.mkv``; several sources get ``NAME-1``, ``NAME-2`` ... An existing file is never
            replaced, the new one gets the next free number.
        sources: how many there are.

    Raises:
        OutputError: the folder cannot be made.
    """

    label = "video"
    queue = 16

    def __init__(self, path: str, sources: int) -> None:
        super().__init__()
        self.paths: list[Path] = []
        base = Path(path)
        try:
            base.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}; choose another place") from error
        for number in range(sources):
            stem = base.stem if sources == 1 else f"{base.stem}-{number + 1}"
            stem = free_stem(
                stem,
                lambda name: (
                    base.with_name(f"{name}{base.suffix}") in self.paths
                    or base.with_name(f"{name}{base.suffix}").exists()
                ),
            )
            self.paths.append(base.with_name(f"{stem}{base.suffix}"))
        self._videos: dict[int, _Video] = {}

    def write(self, prediction: LivePrediction) -> None:
        """Add the frame to its source's video."""
        image = prediction.drawn()
        video = self._videos.get(prediction.source)
        if video is None:
            path = self.paths[prediction.source]
            video = self._videos[prediction.source] = _Video(path, image.shape, prediction.frame.fps)
        video.add(image, prediction.captured)

    def finish(self) -> None:
        """Close the files."""
        for video in self._videos.values():
            video.close()


class _Video:
    def __init__(self, path: Path, shape: tuple[int, ...], fps: float | None) -> None:
        self._size = (shape[1] // 2 * 2, shape[0] // 2 * 2)  # encoders take even sides
        self._path = path
        self._first: float | None = None
        self._last = -1
        codec, options = next(one for one in _CODECS if one[0] in av.codecs_available)
        try:
            self._container: Any = av.open(
                str(path), "w", options={"flush_packets": "1", **_OPTIONS[path.suffix.lower()]}
            )
            self._stream = self._container.add_stream(codec, rate=round(fps or 25), options=options)
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = _TIME_BASE
            self._stream.codec_context.gop_size = _KEY_FRAME_EVERY
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise OutputError(f"cannot write the video {path}: {getattr(error, 'strerror', error)}") from error

    def add(self, image: npt.NDArray[np.uint8], seconds: float) -> None:
        frame = av.VideoFrame.from_ndarray(_fitted(image, self._size), format="rgb24")
        self._first = seconds if self._first is None else self._first
        # A clock that is set back must not stop the video.
        self._last = max(self._last + 1, round((seconds - self._first) * 1000))
        frame.pts, frame.time_base = self._last, _TIME_BASE
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        try:
            self._mux(self._stream.encode(None))
        finally:
            self._container.close()

    def _mux(self, packets: Any) -> None:
        try:
            self._container.mux(packets)
        except (av.error.FFmpegError, OSError) as error:
            raise OutputError(f"cannot write the video {self._path}: {getattr(error, 'strerror', error)}") from error


def _fitted(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A picture on a canvas of another size, whole and in its own proportions; streams change their size."""
    width, height = size
    if image.shape[1] // 2 * 2 == width and image.shape[0] // 2 * 2 == height:
        return np.ascontiguousarray(image[:height, :width])
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    return canvas

"""A video of digits that move, with their true boxes and identities.

Digits come in at an edge, cross at a steady speed, pass before and behind each other, and leave; new ones follow. The
truth is written as MOT Challenge text: ``frame, id, left, top, width, height, 1, 1, visible``, frames and ids from 1,
pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ghostyolo.data.formats.write import make_empty_folder
from ghostyolo.data.scenes import backgrounds, handwriting
from ghostyolo.data.scenes.digits import random_ink
from ghostyolo.errors import ConfigError, OutputError
from ghostyolo.extras import require
from ghostyolo.files import atomic_path, write_text

FPS = 30
VIDEO_NAME, TRUTH_NAME = "video.mp4", "gt.txt"
_AT_ONCE = 6
_SPEED = (0.004, 0.012)  # of the picture's side, each frame
_LEAST_VISIBLE = 0.3  # of a box's area inside the picture; below it is not in the truth
_NOISE = 4.0


@dataclass
class _Walker:
    """A digit on its way: its place is its ink's upper left corner, in pixels."""

    identity: int
    digit: int
    ink: handwriting.Mask
    colour: npt.NDArray[np.float32]
    place: npt.NDArray[np.float64]
    step: npt.NDArray[np.float64]

    def box(self) -> npt.NDArray[np.float64]:
        left, top = np.round(self.place)
        return np.array([left, top, left + self.ink.shape[1], top + self.ink.shape[0]])


@dataclass(frozen=True)
class MovingFrame:
    """One frame and what is true of it.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        boxes_xyxy: (M, 4) float64 in pixels, cut to the picture.
        identities: (M,) int64, from 1.
        labels: (M,) int64, the digits.
        visible: (M,) float64, the share of each box inside the picture.
    """

    image: npt.NDArray[np.uint8]
    boxes_xyxy: npt.NDArray[np.float64]
    identities: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    visible: npt.NDArray[np.float64]


def moving_digits(frames: int, imgsz: int, seed: int) -> Iterator[MovingFrame]:
    """Draw the frames of a video, one after the other.

    Args:
        frames: how many.
        imgsz: side in pixels.
        seed: same seed, same frames. Handwriting and photographs are those of val.
    """
    rng = np.random.default_rng([seed, 2])
    background = backgrounds.draw_background(rng, imgsz, "val")
    walkers: list[_Walker] = []
    identity = 0
    for number in range(frames):
        if len(walkers) < _AT_ONCE and (number == 0 or rng.random() < 0.1):
            for _ in range(_AT_ONCE // 2 if number == 0 else 1):
                identity += 1
                walkers.append(_walker(rng, identity, imgsz, float(background.mean())))
        canvas = background.copy()
        boxes, kept = [], []
        for walker in walkers:
            _draw(canvas, walker)
            box = walker.box()
            inside = np.clip(box, 0, imgsz)
            visible = float(np.prod(inside[2:] - inside[:2]) / np.prod(box[2:] - box[:2]))
            if visible >= _LEAST_VISIBLE:
                boxes.append(inside)
                kept.append((walker, visible))
        noise = rng.standard_normal(canvas.shape, np.float32) * _NOISE
        yield MovingFrame(
            np.clip(np.rint(canvas + noise), 0, 255).astype(np.uint8),
            np.array(boxes).reshape(-1, 4),
            np.array([walker.identity for walker, _ in kept], np.int64),
            np.array([walker.digit for walker, _ in kept], np.int64),
            np.array([visible for _, visible in kept]),
        )
        for walker in walkers:
            walker.place += walker.step
        walkers = [walker for walker in walkers if not _is_gone(walker, imgsz)]


def generate_digit_video(
    out: str | os.PathLike[str],
    *,
    frames: int = 300,
    imgsz: int = 320,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a video and its truth, and return the video's path.

    Args:
        out: a new or empty folder.
        frames: how many, 30 a second.
        imgsz: side in pixels, even.
        seed: same seed, same frames.
        progress: called with (frames done, frames in all).

    Raises:
        MissingExtraError: scikit-learn or scikit-image is not installed.
        ConfigError: an impossible number.
        OutputError: the folder is not empty or cannot be written.
    """
    require("scenes", "data digits")
    if frames < 1 or imgsz % 2 or not 64 <= imgsz <= 4096 or seed < 0:
        raise ConfigError(f"a video takes 1 frame or more, an even side of 64 to 4096 and a seed of 0 or more, not "
                          f"{frames}, {imgsz} and {seed}")  # fmt: skip
    import av

    out = make_empty_folder(out)
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    rows = []
    with atomic_path(out / VIDEO_NAME) as path:
        try:
            with av.open(str(path), "w") as container:
                stream = container.add_stream(codec, rate=FPS, options={"crf": "18", "qscale": "3"})
                stream.width = stream.height = imgsz
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1  # the same bytes on every machine
                for number, frame in enumerate(moving_digits(frames, imgsz, seed), 1):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
                    rows += _rows(number, frame)
                    if progress is not None:
                        progress(number, frames)
                container.mux(stream.encode(None))
        except av.error.FFmpegError as error:
            raise OutputError(f"cannot write {out / VIDEO_NAME}: {error.strerror}") from error
    write_text(out / TRUTH_NAME, "".join(rows))
    return out / VIDEO_NAME


def _rows(number: int, frame: MovingFrame) -> list[str]:
    return [
        f"{number},{identity},{left:g},{top:g},{right - left:g},{bottom - top:g},1,1,{visible:.3f}\n"
        for (left, top, right, bottom), identity, visible in zip(
            frame.boxes_xyxy, frame.identities, frame.visible, strict=True
        )
    ]


def _walker(rng: np.random.Generator, identity: int, side: int, brightness: float) -> _Walker:
    index = int(rng.choice(handwriting.sample_indices("val")))
    ink = random_ink(rng, index, side)
    height, width = ink.shape
    along, edge = rng.uniform(0.1, 0.7) * side, int(rng.integers(4))
    place = [(-width, along), (side, along), (along, -height), (along, side)][edge]
    ahead = [(1, 0), (-1, 0), (0, 1), (0, -1)][edge]
    speed = rng.uniform(*_SPEED) * side
    drift = rng.uniform(-0.3, 0.3)
    step = np.array([ahead[0] or drift, ahead[1] or drift]) * speed
    grey = brightness - rng.uniform(95, 170) if brightness > 128 else brightness + rng.uniform(95, 170)
    colour = np.clip(grey + rng.normal(0, 25, 3), 0, 255).astype(np.float32)
    return _Walker(identity, handwriting.digit_of(index), ink, colour, np.array(place, float), step)


def _draw(canvas: backgrounds.Picture, walker: _Walker) -> None:
    left, top, right, bottom = walker.box().astype(int)
    side = canvas.shape[0]
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(right, side), min(bottom, side)
    if x1 < x2 and y1 < y2:
        opacity = walker.ink[y1 - top : y2 - top, x1 - left : x2 - left, None]
        canvas[y1:y2, x1:x2] += opacity * (walker.colour - canvas[y1:y2, x1:x2])


def _is_gone(walker: _Walker, side: int) -> bool:
    left, top, right, bottom = walker.box()
    return bool(
        (right < 0 and walker.step[0] <= 0)
        or (left > side and walker.step[0] >= 0)
        or (bottom < 0 and walker.step[1] <= 0)
        or (top > side and walker.step[1] >= 0)
    )

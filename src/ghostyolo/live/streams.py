"""Pictures out of cameras, network streams, video files and folders, as they come.

PyAV reads addresses and files: it has time limits, time stamps, and errors of single packets. Cameras are read with
OpenCV, which knows them by number on every system. A stream ends, or it fails: :class:`StreamLost` is worth another
try, a ``SourceError`` is not.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.images import IMAGE_SUFFIXES, read_image
from ghostyolo.errors import DataError, GhostYoloError, SourceError
from ghostyolo.live.settings import WatchSettings
from ghostyolo.runtime.sources import is_stream
from ghostyolo.text import masked, printable

BEHIND_SECONDS = 1.0
"""A stream whose frames are older than this is decoded at its key frames alone, until it has caught up."""

_LONGEST_PAUSE = 5.0  # between two frames of a file that is played at its own speed, whatever its time stamps say
_POLL_SECONDS = 0.25
_WAITED_SECONDS = 0.002  # a packet that took longer was waited for: it was not in a buffer before
_TRIES_OF_A_PICTURE = 8
_QUIET_SECONDS = 0.5  # a file that changed later than that is still being written
# Containers whose time stamps are made up by the reader, from an assumed rate.
_WITHOUT_TIMES = frozenset(("mpjpeg", "mjpeg", "h264", "hevc"))
_HOPELESS = (
    av.error.HTTPUnauthorizedError,
    av.error.HTTPForbiddenError,
    av.error.HTTPNotFoundError,
    av.error.ProtocolNotFoundError,
    av.error.DecoderNotFoundError,
)


class StreamLost(GhostYoloError):
    """A stream that broke off, cannot be reached or gives no frames."""


@dataclass(frozen=True)
class Grabbed:
    """One frame as it came.

    Attributes:
        convert: makes the (H, W, 3) uint8 RGB picture, or (H, W, C) of a file; costs time, so it is called when needed.
        captured: seconds since 1970 when it arrived or was due; of a file that is read as fast as it goes: its time in
            the file.
        name: file name of a picture in a folder, else None.
        path: its file, if it is a picture in a folder.
    """

    convert: Callable[[], npt.NDArray[np.uint8]]
    captured: float
    name: str | None = None
    path: Path | None = None


@dataclass
class StreamFigures:
    """What a source gave so far.

    Attributes:
        read: frames that were decoded.
        dropped: of these and of packets, those that were never looked at, since newer ones were there.
        damaged: frames that could not be decoded.
        inferred: frames that the network saw.
        reconnects: how often it came back.
        state: "connecting", "open", "lost", "ended" or "given up".
    """

    read: int = 0
    dropped: int = 0
    damaged: int = 0
    inferred: int = 0
    reconnects: int = 0
    state: str = "connecting"


@dataclass
class Stream:
    """A source: how to read it, and what came of it.

    Attributes:
        name: what is shown and written; passwords are masked.
        settings: time limits, decoder, pace.
        stop: ends it.
        say: takes a line for the user.
        lossless: every frame counts, so a reader waits for the network.
    """

    name: str
    settings: WatchSettings
    stop: threading.Event
    say: Callable[[str], None]
    lossless: bool = False
    figures: StreamFigures = field(default_factory=StreamFigures)
    path: Path | None = None
    fps: float | None = None

    def frames(self) -> Iterator[Grabbed]:
        """Open the source and give its frames until it ends.

        Raises:
            StreamLost: it cannot be reached now, or broke off.
            SourceError: it will never work.
        """
        raise NotImplementedError

    def _damaged(self, what: str) -> None:
        self.figures.damaged += 1
        # One line for the first of them; a broken stream would fill the screen.
        if self.figures.damaged == 1:
            self.say(f"{self.name}: {what} is damaged and left out; such frames are counted from here on")


def open_stream(
    source: str | Path, settings: WatchSettings, stop: threading.Event, say: Callable[[str], None], channels: int = 3
) -> Stream:
    """Tell what kind a source is; nothing is opened yet.

    Args:
        source: a camera's number, an address, a video file or a folder.
        channels: what the network takes when more than three; such pictures come from folders only.

    Raises:
        SourceError: it does not exist, or is a picture.
    """
    text = str(source)
    common: dict[str, Any] = {"settings": settings, "stop": stop, "say": say}
    path = Path(text).expanduser()
    if "://" in text:
        if any(letter.isspace() for letter in text):
            raise SourceError(f"{masked(text)} holds a space: write %20")
        if not urllib.parse.urlsplit(text).netloc.rpartition("@")[2]:
            raise SourceError(f"{masked(text)} names no host")
        return AddressStream(name=masked(text), address=text, **common)
    if path.is_dir():
        return FolderStream(name=printable(path.name or text), path=path, lossless=True, channels=channels, **common)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.exists():
        raise SourceError(f"{text} is a picture: ghostyolo predict reads it")
    if path.is_file():
        name = printable(path.name)
        return AddressStream(name=name, address=str(path), path=path, lossless=settings.every_frame, **common)
    if is_stream(text) or path.is_char_device():
        name = f"camera {text}" if text.isdecimal() else text
        return CameraStream(name=name, camera=int(text) if text.isdecimal() else text, **common)
    raise SourceError(f"{masked(text)} does not exist: name a camera's number, an address, a video file or a folder")


@dataclass
class CameraStream(Stream):
    """A camera of this machine.

    Attributes:
        camera: its number, or its device file.
    """

    camera: int | str = 0

    def frames(self) -> Iterator[Grabbed]:
        """Give frames as the camera makes them."""
        capture = cv2.VideoCapture(self.camera)
        try:
            if not capture.isOpened():
                message = f"{self.name} cannot be opened: there is none, or another program uses it"
                raise StreamLost(message) if self.figures.read else SourceError(message)
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            self.fps = _plausible(capture.get(cv2.CAP_PROP_FPS))
            latest = time.monotonic()
            while not self.stop.is_set():
                done, picture = capture.read()
                if done:
                    latest = time.monotonic()
                    self.figures.read += 1
                    yield Grabbed(partial(cv2.cvtColor, picture, cv2.COLOR_BGR2RGB), time.time())
                elif time.monotonic() - latest > self.settings.timeout:
                    raise StreamLost(f"no frame for {self.settings.timeout:g} s")
                else:
                    self.stop.wait(0.05)
        finally:
            capture.release()


@dataclass
class FolderStream(Stream):
    """A folder that fills up: each picture once, in the order of their times.

    Attributes:
        channels: of the network.
    """

    channels: int = 3

    def frames(self) -> Iterator[Grabbed]:
        """Give the pictures that are there, then those that come."""
        assert self.path is not None
        seen: dict[Path, tuple[int, int]] = {}  # size and time that it was read with, or was last seen with
        failures: dict[Path, int] = {}
        told = False
        while not self.stop.is_set():
            try:
                found = sorted(
                    ((entry.stat().st_mtime_ns, entry.stat().st_size, Path(entry.path)) for entry in _files(self.path)),
                    key=lambda file: (file[0], file[2]),
                )
            except OSError as error:
                raise StreamLost(f"the folder cannot be read: {error.strerror}") from error
            seen = {path: seen[path] for _, _, path in found if path in seen}
            for changed, size, path in found:
                if path.suffix.lower() not in IMAGE_SUFFIXES:
                    if not told:
                        self.say(f"{self.name}: {printable(path.name)} is no picture; such files are passed over")
                        told = True
                    continue
                if seen.get(path) == (size, changed) or 0 <= time.time() - changed / 1e9 < _QUIET_SECONDS:
                    continue
                try:
                    picture = read_image(path, self.channels)
                except DataError:
                    failures[path] = failures.get(path, 0) + 1
                    if failures[path] >= _TRIES_OF_A_PICTURE:
                        seen[path] = (size, changed)
                        self._damaged(printable(path.name))
                    continue
                failures.pop(path, None)
                seen[path] = (size, changed)
                self.figures.read += 1
                yield Grabbed(partial(np.asarray, picture), time.time(), path.name, path)
                if self.stop.is_set():
                    return
            self.stop.wait(_POLL_SECONDS)


@dataclass
class AddressStream(Stream):
    """A video file, or an address that FFmpeg reads.

    RTSP, HTTP with Motion JPEG or a file, HLS, RTMP, UDP and others.

    Attributes:
        address: with its password; for FFmpeg alone.
    """

    address: str = ""

    def frames(self) -> Iterator[Grabbed]:
        """Open it and give its frames.

        Those of files and HLS come at their own pace, those of other streams as they arrive.
        """
        with self._opened() as container:
            video = container.streams.video[0]
            self.fps = _plausible(float(video.average_rate or 0))
            form = container.format.name
            live = container.duration is None
            paced = not self.lossless and (not live or form == "hls")
            # Threads that decode several frames at once give each one late.
            video.thread_type = "AUTO" if self.lossless else "SLICE"
            clock = _Pace(self.stop) if paced else _Arrival(form not in _WITHOUT_TIMES)
            end = container.duration / av.time_base if container.duration else None
            yield from self._decoded(container, video, None if self.lossless else clock, live, end)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        limit = self.settings.timeout
        options = {}
        if self.path is None:
            options = {"fflags": "nobuffer", "rtsp_transport": "tcp", "user_agent": "ghostyolo"}
        try:
            container = av.open(
                self.address,
                timeout=None if self.path else (limit, limit),
                options=options,
                hwaccel=_hardware(self.settings.decoder),
                metadata_errors="replace",
            )
        except _HOPELESS as error:
            message = f"{self.name} cannot be opened: {_reason(error)}"
            raise StreamLost(message) if self.figures.read else SourceError(message) from error
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if self.path is not None:
                raise SourceError(f"{self.path} cannot be read as a video: {_reason(error)}") from error
            if (page := _page_behind(self.address)) is not None:
                raise SourceError(f"{self.name} answers with {page}, not with a video") from error
            raise StreamLost(_reason(error, limit)) from error
        with container:
            if not container.streams.video:
                raise SourceError(f"{self.name} has no video in it")
            if container.streams.video[0].codec_context is None:
                raise SourceError(f"{self.name} is of a codec that is missing here; re-encode it as H.264")
            yield container

    def _decoded(
        self, container: Any, video: Any, clock: _Pace | _Arrival | None, live: bool, end: float | None
    ) -> Iterator[Grabbed]:
        limit = self.settings.timeout
        latest = time.monotonic()
        first = seconds = None
        number = 0
        packets = container.demux(video)
        while not self.stop.is_set():
            asked = time.monotonic()
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError) as error:
                if self.path is not None:
                    self._damaged(f"what follows frame {number}")
                    return
                raise StreamLost(_reason(error, limit)) from error
            if packet is None:
                break
            waited = time.monotonic() - asked > _WAITED_SECONDS
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, OSError):
                number += 1
                self._damaged(f"frame {number}")
                frames = []
            for frame in frames:
                number += 1
                latest = time.monotonic()
                if frame.is_corrupt:
                    self._damaged(f"frame {number}")
                    continue
                self.figures.read += 1
                seconds = frame.time
                first = seconds if first is None else first
                captured = (number - 1) / (self.fps or 25) if seconds is None else seconds - (first or 0.0)
                if clock is not None:
                    captured = clock.captured(seconds, waited)
                    waited = False
                yield Grabbed(partial(_to_rgb, frame), captured)
            if not frames and packet.size and video.codec_context.skip_frame == "NONKEY":
                self.figures.dropped += 1
            if isinstance(clock, _Arrival):
                video.codec_context.skip_frame = "NONKEY" if clock.behind > BEHIND_SECONDS else "DEFAULT"
            if self.path is None and time.monotonic() - latest > limit:
                raise StreamLost(f"no frame for {limit:g} s")
        if self.stop.is_set():
            return
        if live and self.path is None:
            raise StreamLost("the stream ended")
        if number == 0:
            raise SourceError(f"{self.name} cannot be read as a video: no frame in it can be decoded")
        if end is not None and seconds is not None and first is not None and seconds - first < 0.9 * end - 1:
            self.say(f"{self.name}: cut short, {seconds - first:.0f} s of {end:.0f} s could be read")


class _Arrival:
    """Says when frames arrived, also of those that then waited to be decoded."""

    def __init__(self, timed: bool) -> None:
        self._timed = timed
        self._captured = self._seconds = 0.0
        self.behind = 0.0

    def captured(self, seconds: float | None, waited: bool) -> float:
        now = time.time()
        captured = now
        if not waited and self._captured and self._timed and seconds is not None:
            step = seconds - self._seconds
            if 0 <= step < 1:
                captured = min(now, self._captured + step)
        self._captured, self._seconds = captured, seconds or 0.0
        self.behind = now - captured
        return captured


class _Pace:
    """Waits until a frame is due, by the time stamps of its file."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._due = self._seconds = 0.0

    def captured(self, seconds: float | None, waited: bool) -> float:
        now = time.time()
        step = (seconds if seconds is not None else self._seconds + 0.04) - self._seconds
        self._due = self._due + step if self._due and 0 <= step < _LONGEST_PAUSE else now
        self._seconds += step
        if self._due > now:
            self._stop.wait(self._due - now)
        elif now - self._due > BEHIND_SECONDS:  # it cannot be decoded as fast as it plays, or the network paused
            self._due = now
        return self._due


def _to_rgb(frame: Any) -> npt.NDArray[np.uint8]:
    """The picture of a frame, upright, as phones say it in the file."""
    image = frame.to_ndarray(format="rgb24")
    turns = round((frame.rotation or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _hardware(decoder: str) -> Any:
    if decoder == "cpu":
        return None
    from av.codec.hwaccel import HWAccel, hwdevices_available

    offered = hwdevices_available()
    if decoder not in offered:
        raise SourceError(f"decoder is '{decoder}': FFmpeg here has cpu, {', '.join(offered)}")
    try:
        return HWAccel(decoder, allow_software_fallback=False)
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError) as error:
        raise SourceError(f"the decoder {decoder} cannot be used here: {_reason(error)}; take --decoder cpu") from error


def _reason(error: BaseException, limit: float | None = None) -> str:
    if isinstance(error, av.error.ExitError) and limit is not None:
        return f"nothing came for {limit:g} s"
    # Only what the system says: FFmpeg's own text holds the address with its password.
    return masked(getattr(error, "strerror", None) or type(error).__name__).lower()


def _page_behind(address: str) -> str | None:
    """What an http address answers with when that is no video: "a web page"."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https"):
        return None
    plain = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        with urllib.request.urlopen(plain, timeout=3) as response:
            kind = response.headers.get_content_type()
            start = response.read1(64).lstrip().lower()
    except (OSError, ValueError):
        return None
    if kind == "text/html" or start.startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML)"
    if kind == "application/json" or kind == "text/plain":
        return f"text ({kind})" if not start.startswith(b"#extm3u") else None
    return None


def _plausible(fps: float) -> float | None:
    return fps if 0.1 <= fps <= 1000 else None


def _files(folder: Path) -> Iterator[Any]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_file():
                yield entry

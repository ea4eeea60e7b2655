"""Threads that read sources, look at frames and write results, none waiting for another.

A reader for each source leaves its newest frame on a board; one thread runs the network on what lies there, from each
source in turn; each output has a short queue and a thread. So a frame's age when its boxes are known is at most one
round of the network over all sources plus the decoding, whatever the sources' rate and however slow an output is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ghostyolo.errors import ConfigError, DataError, SourceError
from ghostyolo.live.counting import Count, RegionCounter, find_regions
from ghostyolo.live.figures import Figures
from ghostyolo.live.outputs.output import Callback, Output
from ghostyolo.live.prediction import LivePrediction
from ghostyolo.live.reader import Board, Reader
from ghostyolo.live.settings import WatchSettings
from ghostyolo.live.streams import FolderStream, Grabbed, open_stream
from ghostyolo.runtime.predictor import Predictor, load
from ghostyolo.runtime.sources import Frame
from ghostyolo.runtime.tracking import Tracker, check_tracker
from ghostyolo.thresholds import Limits

if TYPE_CHECKING:
    from ghostyolo.live.outputs.window import Window

logger = logging.getLogger(__name__)

_REFRESH_SECONDS = 0.03


class Watch:
    """Sources, a detector and outputs.

    They work from :meth:`run`, or from the first step of an iteration, until the end.

    Made by :func:`watch`, which says what the arguments are.

    Attributes:
        figures: what it measured so far.
        faults: a line for each source that was given up and each output that failed.
        notes: lines for the user before it begins, such as the page's address.
    """

    def __init__(
        self,
        sources: Iterable[str | int | Path],
        predictor: Predictor,
        settings: WatchSettings,
        limits: Limits,
        imgsz: int | None = None,
        callback: Callable[[LivePrediction], object] | None = None,
        say: Callable[[str], None] = logger.warning,
    ) -> None:
        self._predictor, self._settings, self._imgsz, self._say = predictor, settings, imgsz, say
        self._limits = limits
        self._stop = threading.Event()
        self.notes: list[str] = []
        self._error: BaseException | None = None
        channels = max(3, predictor.metadata.in_channels)
        self._streams = [open_stream(str(source), settings, self._stop, say, channels) for source in sources]
        if not self._streams:
            raise SourceError("no sources given: name a camera's number, an address, a video file or a folder")
        for number, stream in enumerate(self._streams, 1):
            if stream.name in [other.name for other in self._streams[: number - 1]]:
                stream.name = f"{stream.name} ({number})"
        if settings.every_frame and (others := [one.name for one in self._streams if not one.lossless]):
            raise ConfigError(f"every frame can be looked at of files alone, not of {others[0]}")
        # The first call of a network takes long; the first frames should not wait for it.
        blank = np.zeros((64, 64, self._predictor.metadata.in_channels), np.uint8)
        self._predictor.detect([blank], imgsz=self._imgsz, **self._limits)
        self._regions = find_regions(settings.lines, settings.zones, settings.regions)
        if settings.counts is not None and not self._regions:
            raise ConfigError("there is nothing to count at: name a line, a zone or a file of regions")
        self._track = settings.track or ("bytetrack" if self._regions else None)
        if self._track is not None:
            check_tracker(self._track, settings.track_options)
            if settings.track is None:
                self.notes.append(f"objects are followed with {self._track}, to count them")
        elif settings.track_options:
            raise ConfigError("settings of a tracker are given, but no tracker: name one")
        self._trackers: dict[int, Tracker] = {}
        self._counters = [RegionCounter(self._regions) for _ in self._streams]
        self._lossless = all(stream.lossless for stream in self._streams)
        self._board = Board(self._streams, self._stop)
        self._readers = [Reader(index, stream, self._board) for index, stream in enumerate(self._streams)]
        self._sizes: list[tuple[int, int] | None] = [None] * len(self._streams)
        self.figures = Figures(self._streams)
        self._window: Window | None = None
        self._outputs = self._make_outputs()
        if callback is not None:
            self._outputs.append(Callback(callback))
        self._worker = threading.Thread(target=self._work, name="network", daemon=True)

    @property
    def faults(self) -> list[str]:
        """What did not work to the end."""
        parts: list[Reader | Output] = [*self._readers, *self._outputs]
        return [part.fault for part in parts if part.fault is not None]

    @property
    def losses(self) -> list[str]:
        """A line for each output that was too slow for some results."""
        return [
            f"{output.label}: {output.dropped} of {output.dropped + output.written} frames were left out, since it "
            "was slower than the network"
            for output in self._outputs
            if output.dropped and output.queue > 2  # a page or window shows the newest, and that is all
        ]

    def stop(self) -> None:
        """End it: readers and network stop, outputs finish what they have."""
        self._stop.set()

    def run(self, report: Callable[[str], None] | None = None, every: float = 1.0) -> Figures:
        """Work until all sources ended, :meth:`stop` is called, or the window is closed.

        Args:
            report: is called with a line of figures.
            every: seconds between two such lines.

        Raises:
            GhostYoloError: the network cannot take the pictures, or no source could be read at all.
        """
        self._begin()
        try:
            latest = time.monotonic()
            while self._worker.is_alive():
                self._worker.join(_REFRESH_SECONDS if self._window is not None else 0.1)
                if self._window is not None:
                    self._window.refresh()
                    if self._window.closed:
                        self.stop()
                if self._outputs and all(output.fault is not None for output in self._outputs):
                    self.stop()  # nobody is left to work for
                if report is not None and time.monotonic() - latest >= every:
                    latest = time.monotonic()
                    report(self.figures.line())
        finally:
            self._finish()
        self._raise()
        return self.figures

    def __iter__(self) -> Iterator[LivePrediction]:
        """Work, and give the results; those that the loop is too slow for are dropped.

        Raises:
            GhostYoloError: as :meth:`run`.
        """
        inbox = _Inbox()
        self._outputs.append(inbox)
        self._begin()
        try:
            while (prediction := inbox.take(self._worker.is_alive)) is not None:
                yield prediction
        finally:
            self._finish()
        self._raise()

    def _make_outputs(self) -> list[Output]:
        settings, count = self._settings, len(self._streams)
        outputs: list[Output] = []
        if settings.serve is not None:
            from ghostyolo.live.outputs.page import Page

            page = Page(settings.serve, [stream.name for stream in self._streams], self.figures.to_json)
            outputs.append(page)
            self.notes.append(f"live page: {page.url}")
            if page.is_public:
                self.notes.append("everybody on the network can see the live page: it asks for no password")
        if settings.show:
            from ghostyolo.live.outputs.window import Window

            self._window = Window(count)
            outputs.append(self._window)
        if settings.video is not None:
            from ghostyolo.live.outputs.video import Videos

            videos = Videos(settings.video, count)
            outputs.append(videos)
            self.notes += [f"video: {path}" for path in videos.paths]
        if settings.json_lines is not None:
            from ghostyolo.live.outputs.rows import JsonLines

            outputs.append(JsonLines(settings.json_lines))
        if settings.csv is not None:
            from ghostyolo.live.outputs.rows import CsvRows

            outputs.append(CsvRows(settings.csv))
        if settings.counts is not None:
            from ghostyolo.live.outputs.rows import MinuteCounts

            outputs.append(MinuteCounts(settings.counts))
        return outputs

    def _begin(self) -> None:
        if self._worker.ident is not None:
            raise ConfigError("a watch runs once: make another one")
        for output in self._outputs:
            output.begin(self._lossless and output is not self._window, self._say, self._stop)
        self._worker.start()
        for reader in self._readers:
            reader.start()

    def _finish(self) -> None:
        self._stop.set()
        self._worker.join(self._settings.timeout)
        self.figures.end()
        for output in self._outputs:
            output.end()
        if self._window is not None:
            self._window.close_window()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
        if self.faults and not any(stream.figures.read for stream in self._streams):
            raise SourceError(self.faults[0])

    def _work(self) -> None:
        try:
            for index, grabbed in self._board:
                self._look(index, grabbed)
        except BaseException as error:
            self._error = error
        finally:
            self._stop.set()

    def _look(self, index: int, grabbed: Grabbed) -> None:
        stream = self._streams[index]
        try:
            image = grabbed.convert()
        except (DataError, ValueError, OSError):
            stream.figures.damaged += 1
            return
        self._note_size(index, (image.shape[1], image.shape[0]))
        start = time.perf_counter()
        detections = self._predictor.detect([image], imgsz=self._imgsz, **self._limits)[0]
        milliseconds = (time.perf_counter() - start) * 1000
        counts: tuple[Count, ...] = ()
        inside: dict[str, int] = {}
        if self._track is not None:
            tracker = self._trackers.get(index)
            if tracker is None:
                tracker = self._trackers[index] = Tracker(self._track, stream.fps, self._settings.track_options)
            detections = tracker.update(detections, image, grabbed.captured)
            size = (image.shape[1], image.shape[0])
            counts, inside = self._counters[index].update(detections, size, grabbed.captured)
        timed = not stream.lossless or stream.path is None
        age_ms = (time.time() - grabbed.captured) * 1000 if timed else None
        number = stream.figures.inferred
        stream.figures.inferred += 1
        self.figures.add(age_ms, milliseconds)
        frame = Frame(image, grabbed.name or stream.name, grabbed.path or stream.path, number, stream.fps)
        prediction = LivePrediction(
            frame, detections, milliseconds, index, grabbed.captured, age_ms, self._regions, counts, inside
        )
        for output in self._outputs:
            output.offer(prediction)

    def _note_size(self, index: int, size: tuple[int, int]) -> None:
        held, stream = self._sizes[index], self._streams[index]
        if held is not None and held != size and not isinstance(stream, FolderStream):
            self._say(f"{stream.name}: the picture is now {size[0]} x {size[1]}, before {held[0]} x {held[1]}")
        self._sizes[index] = size


class _Inbox(Output):
    """Hands results to the thread that iterates."""

    label = "iteration"

    def __init__(self) -> None:
        super().__init__()
        self._ended = False

    def run(self) -> None:
        """Nothing to do: the iterating thread empties the queue itself."""

    def take(self, alive: Callable[[], bool]) -> LivePrediction | None:
        """Wait for a result; None at the end."""
        with self._changed:
            while not self._queue:
                if not alive():
                    return None
                self._changed.wait(0.1)
            prediction = self._queue.popleft()
            self._changed.notify_all()
            return prediction


def watch(
    sources: str | int | Path | Iterable[str | int | Path],
    weights: str | Path | Predictor,
    *,
    callback: Callable[[LivePrediction], object] | None = None,
    imgsz: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
    layout: str | None = None,
    engine_options: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = logger.warning,
    **options: Any,
) -> Watch:
    """Watch cameras, streams, video files or folders.

    ``for seen in ghostyolo.watch(0, "bccd"): ...`` gives the newest results as they come; ``watch(...).run()`` works
    until the end with the outputs that are named.

    Args:
        sources: a camera's number, an address (``rtsp://``, ``http://`` ...), a video file or a folder that fills up;
            or several.
        weights: as for :func:`ghostyolo.load`, or a predictor.
        callback: is called with each :class:`LivePrediction`, in a thread of its own.
        imgsz, device, threads, layout, engine_options: as in prediction.
        say: takes the lines about lost and found sources; by default they are logged as warnings.
        **options: ``confidence``, ``iou``, ``classes`` and the other limits of prediction; ``video="out.mp4"``,
            ``json_lines="-"``, ``serve="127.0.0.1:8000"``, ``every_frame=True`` and what else stands in
            :class:`ghostyolo.live.settings.WatchSettings`.

    Raises:
        SourceError: a source that does not exist.
        ConfigError, WeightsError, OutputError, MissingExtraError: what is asked for is not possible.
    """
    limits = cast(Limits, {name: value for name, value in options.items() if name in Limits.__annotations__})
    settings = {name: value for name, value in options.items() if name not in limits}
    several = [sources] if isinstance(sources, str | int | Path) else list(sources)
    chosen = WatchSettings.from_dict(settings, "watch")
    predictor = (
        weights
        if isinstance(weights, Predictor)
        else load(weights, device=device, threads=threads, layout=layout, engine_options=engine_options)
    )
    return Watch(several, predictor, chosen, limits, imgsz, callback, say)

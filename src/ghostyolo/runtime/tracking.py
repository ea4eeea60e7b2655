"""Give objects of a video an identity that lasts from frame to frame.

The trackers are those of the package ``trackers`` (Apache-2.0). It is installed by itself, without what it names as its
needs: all of that is in the base install, but for another build of OpenCV, which would replace ours.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError, MissingExtraError, suggest
from ghostyolo.runtime.sources import continues

if TYPE_CHECKING:
    import supervision

    from ghostyolo.runtime.prediction import Prediction

TRACKERS = {
    "bytetrack": "ByteTrackTracker",
    "ocsort": "OCSORTTracker",
    "botsort": "BoTSORTTracker",
    "cbiou": "CBIoUTracker",
    "sort": "SORTTracker",
}
"""Class of each tracker, by the name that users give."""

INSTALL = 'pip install --no-deps "trackers>=2.6"'
_FPS = 30.0
_PLAIN = (bool, int, float, str)


class Tracker:
    """Follows the objects of one video or stream.

    Args:
        name: one of :data:`TRACKERS`.
        fps: frames a second, about; None: 30.
        options: settings of the tracker by its own names.

    Raises:
        MissingExtraError: the package is not installed.
        ConfigError: an unknown tracker or setting, or a value that it refuses.
    """

    def __init__(self, name: str, fps: float | None = None, options: Mapping[str, Any] | None = None) -> None:
        check_tracker(name, options)
        self._tracker = _class_of(name)(frame_rate=fps or _FPS, **(options or {}))
        self._looks = name == "botsort"  # at the picture, for the camera's own movement
        self._seconds = -np.inf

    def update(
        self, detections: supervision.Detections, image: npt.NDArray[np.uint8], seconds: float
    ) -> supervision.Detections:
        """Give the detections of the next frame their ``tracker_id``.

        It is -1 of an object that is not followed (yet).

        Args:
            detections: of the frame, also weak ones.
            image: (H, W, C) uint8 RGB.
            seconds: its time; frames may be left out between.
        """
        self._seconds = max(seconds, self._seconds + 1e-3)  # a clock may be set back
        picture = image[:, :, :3] if self._looks else None
        tracked = self._tracker.update(detections, picture, timestamp=self._seconds)
        if len(tracked) == 0:  # trackers give a result without columns then
            tracked = detections[np.zeros(len(detections), bool)]
            tracked.tracker_id = np.empty(0, int)
        return tracked


def track(
    predictions: Iterable[Prediction], name: str, options: Mapping[str, Any] | None = None
) -> Iterator[Prediction]:
    """Give the objects of videos their ``tracker_id``; each video begins anew.

    Pictures are given as they are.

    Args:
        predictions: of videos, frame by frame.
        name, options: see :class:`Tracker`.
    """
    check_tracker(name, options)
    return _tracked(predictions, name, options)


def check_tracker(name: str, options: Mapping[str, Any] | None = None) -> None:
    """Refuse a tracker that cannot be used.

    Raises:
        MissingExtraError, ConfigError: as :class:`Tracker`.
    """
    if name not in TRACKERS:
        raise ConfigError(f"there is no tracker '{name}': {suggest(name, TRACKERS)}")
    if importlib.util.find_spec("trackers") is None:
        raise MissingExtraError(f"tracking needs the package trackers, without its own OpenCV: {INSTALL}")
    kind = _class_of(name)
    known = {
        parameter.name: parameter.default
        for parameter in inspect.signature(kind).parameters.values()
        if isinstance(parameter.default, _PLAIN) and parameter.name != "frame_rate"
    }
    for key, value in (options or {}).items():
        if key not in known:
            raise ConfigError(f"the tracker {name} has no setting '{key}': {suggest(key, known)}")
        wanted = type(known[key])
        if not isinstance(value, int | float if wanted is float else wanted) or isinstance(value, bool) != (
            wanted is bool
        ):
            raise ConfigError(f"'{key}' of the tracker {name} is {value!r}: it must be like {known[key]!r}")
    try:
        kind(**(options or {}))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the tracker {name} refuses its settings: {error}") from error


def track_numbers(detections: supervision.Detections) -> list[int | None]:
    """Return the track of each object; None of one that is not followed (yet)."""
    if detections.tracker_id is None:
        return [None] * len(detections)
    return [int(track) if track >= 0 else None for track in detections.tracker_id]


def _class_of(name: str) -> Any:
    try:
        import trackers
    except ImportError as error:
        raise MissingExtraError(f"the package trackers cannot be used: {error}; pip install -U supervision") from error
    return getattr(trackers, TRACKERS[name])


def _tracked(predictions: Iterable[Prediction], name: str, options: Mapping[str, Any] | None) -> Iterator[Prediction]:
    tracker, last = None, None
    for prediction in predictions:
        frame = prediction.frame
        if frame.frame_index is not None:
            if tracker is None or not continues(last, frame):
                tracker = Tracker(name, frame.fps, options)
            seconds = frame.frame_index / (frame.fps or _FPS)
            found = tracker.update(prediction.detections, frame.image, seconds)
            prediction = replace(prediction, detections=found)
        last = frame
        yield prediction

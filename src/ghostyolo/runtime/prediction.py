"""What a detector found on pictures, as a notebook wants it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError, MissingExtraError
from ghostyolo.runtime.drawing import draw_detections, encode_picture, shrink, write_picture
from ghostyolo.runtime.sources import Frame
from ghostyolo.runtime.tracking import track_numbers

if TYPE_CHECKING:
    import pandas
    import supervision

_SHOWN_SIDE = 1024  # pixels, in a notebook
_SHOWN_PICTURES = 8


@dataclass(frozen=True)
class FoundObject:
    """One object on a picture.

    Attributes:
        name: of its class.
        score: in 0..1.
        box_xyxy: corners in pixels of the picture.
        class_id: number of its class.
        track: its identity in a video; None where it is not followed (yet).
    """

    name: str
    score: float
    box_xyxy: tuple[float, float, float, float]
    class_id: int
    track: int | None = None

    def __repr__(self) -> str:
        corners = ", ".join(f"{corner:.1f}" for corner in self.box_xyxy)
        return f"{self.name} {self.score:.2f} ({corners})"


@dataclass(frozen=True, repr=False)
class Prediction:
    """One picture or video frame and what was found on it.

    It has the length of what was found, can be indexed and iterated over (:class:`FoundObject`), and shows itself
    in a notebook.

    Attributes:
        frame: the picture and where it came from.
        detections: boxes in pixels of the picture, ``data["class_name"]`` filled.
        milliseconds: wall-clock time for one picture of its batch.
    """

    frame: Frame
    detections: supervision.Detections
    milliseconds: float

    def __len__(self) -> int:
        return len(self.detections)

    def __bool__(self) -> bool:
        return True  # a picture without objects is a result too

    @overload
    def __getitem__(self, position: int) -> FoundObject: ...
    @overload
    def __getitem__(self, position: slice) -> list[FoundObject]: ...
    def __getitem__(self, position: int | slice) -> FoundObject | list[FoundObject]:
        return list(self)[position]

    def __iter__(self) -> Iterator[FoundObject]:
        found = self.detections
        for box, score, class_id, name, track in zip(
            found.xyxy,
            found.confidence,
            found.class_id,
            found.data["class_name"],
            track_numbers(found),
            strict=True,
        ):
            x1, y1, x2, y2 = (float(corner) for corner in box)
            yield FoundObject(str(name), float(score), (x1, y1, x2, y2), int(class_id), track)

    def __repr__(self) -> str:
        frame = self.frame
        height, width = frame.image.shape[:2]
        place = "" if frame.frame_index is None else f" frame {frame.frame_index}"
        return f"Prediction({frame.name}{place}, {width} x {height}: {count_text(self.counts())})"

    def counts(self) -> Counter[str]:
        """Return how many objects of each class were found, the most frequent first."""
        return Counter(dict(Counter(map(str, self.detections.data["class_name"])).most_common()))

    def plot(self, *, bgr: bool = False) -> npt.NDArray[np.uint8]:
        """Draw boxes, names and scores.

        Args:
            bgr: give blue first, as ``cv2.imshow`` and ``cv2.imwrite`` want it.

        Returns:
            (H, W, 3) uint8, RGB; a new array.
        """
        drawn = draw_detections(self.frame.image, self.detections)
        return np.ascontiguousarray(drawn[:, :, ::-1]) if bgr else drawn

    def save(self, path: str | Path) -> Path:
        """Write the picture with what was found on it.

        Args:
            path: its suffix says the format, such as ``.jpg`` or ``.png``.

        Raises:
            OutputError: it cannot be written, or OpenCV does not know the format.
        """
        write_picture(path, self.plot())
        return Path(path)

    def crops(self) -> list[npt.NDArray[np.uint8]]:
        """Cut out each object.

        Returns:
            (h, w, C) uint8 of at least one pixel, in the order of the detections; new arrays.
        """
        height, width = self.frame.image.shape[:2]
        cuts = []
        for x1, y1, x2, y2 in self.detections.xyxy.tolist():
            left, top = min(int(x1), width - 1), min(int(y1), height - 1)
            right, bottom = max(int(np.ceil(x2)), left + 1), max(int(np.ceil(y2)), top + 1)
            cuts.append(self.frame.image[top:bottom, left:right].copy())
        return cuts

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: an entry of ``detections.json``.

        ``{image, width, height, objects: [{box_xyxy, score, class_id, class}]}``.

        Boxes are in pixels of the picture. ``image`` is the local path, else the name; frames of a video have
        ``frame``, counted from 0, beside it.
        """
        frame = self.frame
        height, width = frame.image.shape[:2]
        record: dict[str, Any] = {"image": str(frame.path or frame.name)}
        if frame.frame_index is not None:
            record["frame"] = frame.frame_index
        record["width"], record["height"] = width, height
        record["objects"] = [
            {
                "box_xyxy": [round(corner, 2) for corner in item.box_xyxy],
                "score": round(item.score, 5),
                "class_id": item.class_id,
                "class": item.name,
                **({} if self.detections.tracker_id is None else {"track": item.track}),
            }
            for item in self
        ]
        return record

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with a row for each object.

        Its columns are x1, y1, x2, y2, score, class_id, class and track.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return _table([row_of(item) for item in self], list(_COLUMNS))

    def _repr_png_(self) -> bytes:
        return encode_picture(shrink(self.plot(), _SHOWN_SIDE), ".png")


_COLUMNS = ("x1", "y1", "x2", "y2", "score", "class_id", "class", "track")


def row_of(item: FoundObject) -> dict[str, Any]:
    """Return an object as a row of a table."""
    corners = (round(corner, 2) for corner in item.box_xyxy)
    return dict(zip(_COLUMNS, (*corners, round(item.score, 5), item.class_id, item.name, item.track), strict=True))


class NotKeptError(ConfigError, TypeError):
    """Predictions are asked for again that were given away.

    It is a TypeError too, at which ``list()``, that asks for the length first, goes on without it.
    """


class Predictions(Iterator[Prediction]):
    """What a detector finds on pictures, one after the other.

    Iterate, and each is made when it is its turn and none is kept, so that a video of any length fits in memory.
    Index it or ask for its length, and it keeps them: ``predictions[0]``, ``predictions[-1]``, ``len(predictions)``.

    Args:
        stream: makes them.
    """

    def __init__(self, stream: Iterator[Prediction]) -> None:
        self._stream = stream
        self._kept: list[Prediction] | None = None
        self._given = 0

    def __iter__(self) -> Iterator[Prediction]:
        return self if self._kept is None else self._from_kept()

    def __next__(self) -> Prediction:
        if self._kept is None:
            prediction = next(self._stream)
        else:
            self._keep(self._given + 1)
            if self._given >= len(self._kept):
                raise StopIteration
            prediction = self._kept[self._given]
        self._given += 1
        return prediction

    def __len__(self) -> int:
        return len(self._keep())

    def __bool__(self) -> bool:
        return True  # asking costs no work

    @overload
    def __getitem__(self, position: int) -> Prediction: ...
    @overload
    def __getitem__(self, position: slice) -> list[Prediction]: ...
    def __getitem__(self, position: int | slice) -> Prediction | list[Prediction]:
        first = isinstance(position, int) and position >= 0
        return self._keep(position + 1 if first else None)[position]  # type: ignore[operator]

    def keep(self) -> Predictions:
        """Make all of them now and keep them; returns itself."""
        self._keep()
        return self

    def to_dict(self) -> list[dict[str, Any]]:
        """Return plain values of all: what ``detections.json`` holds."""
        return [prediction.to_dict() for prediction in self._keep()]

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with a row for each object of all pictures.

        Its columns are image, frame and those of :meth:`Prediction.to_pandas`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        rows = []
        for prediction in self._keep():
            frame = prediction.frame
            place = {"image": str(frame.path or frame.name), "frame": frame.frame_index}
            rows += [{**place, **row_of(item)} for item in prediction]
        return _table(rows, ["image", "frame", *_COLUMNS])

    def __repr__(self) -> str:
        if self._kept is None:
            return "Predictions(made while iterating; index them to keep them)"
        counts = sum((prediction.counts() for prediction in self._kept), Counter())
        return f"Predictions({len(self._kept)} pictures: {count_text(counts)})"

    def _repr_html_(self) -> str:
        import base64
        import html

        parts = [f"<p>{html.escape(repr(self))}</p>"]
        for prediction in (self._kept or [])[:_SHOWN_PICTURES]:
            data = base64.b64encode(encode_picture(shrink(prediction.plot(), _SHOWN_SIDE // 2), ".jpg")).decode()
            title = html.escape(repr(prediction), quote=True)
            parts.append(f'<img alt="{title}" title="{title}" src="data:image/jpeg;base64,{data}" style="margin:4px">')
        return "".join(parts)

    def _from_kept(self) -> Iterator[Prediction]:
        position = 0
        while len(self._keep(position + 1)) > position:
            yield self._keep(position + 1)[position]
            position += 1

    def _keep(self, count: int | None = None) -> list[Prediction]:
        """Make and keep the first so many; None: all."""
        if self._kept is None:
            if self._given:
                raise NotKeptError(
                    f"{self._given} predictions were given while iterating and not kept: predict again and index, or "
                    "put them in a list"
                )
            self._kept = []
        while count is None or len(self._kept) < count:
            prediction = next(self._stream, None)
            if prediction is None:
                break
            self._kept.append(prediction)
        return self._kept


def count_text(counts: Counter[str]) -> str:
    """Return how many of each class, such as ``"12 RBC, 1 WBC"``."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing found"


def _table(rows: list[dict[str, Any]], columns: list[str]) -> pandas.DataFrame:
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError("to_pandas needs pandas: pip install pandas; to_dict needs nothing") from error
    return pandas.DataFrame(rows, columns=columns)

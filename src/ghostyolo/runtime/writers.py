"""Writes predictions: annotated pictures and videos, JSON, CSV, YOLO text.

A file appears whole or not at all. In the output folder: ``NAME.jpg`` or ``NAME.png`` for pictures, ``NAME.mp4`` for
videos, ``detections.json``, ``detections.csv``, ``yolo/NAME.txt`` and, of videos with tracks, ``mot/NAME.txt``. Sources
of the same name get ``NAME-2``, ``NAME-3`` ...; so do pictures that would replace a source. Names longer than file
systems take are cut, bytes that are no text escaped.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2

from ghostyolo.errors import OutputError
from ghostyolo.files import atomic_path, free_stem, make_output_folder, write_json, write_text
from ghostyolo.runtime.sources import Fault, Frame, continues, is_text
from ghostyolo.runtime.tracking import track_numbers
from ghostyolo.text import printable

if TYPE_CHECKING:
    import supervision

    from ghostyolo.runtime.prediction import Prediction

JSON_NAME = "detections.json"
CSV_NAME = "detections.csv"
TEXT_FOLDER = "yolo"
TRACK_FOLDER = "mot"
_MAX_STEM_BYTES = 200  # file systems take 255; "-2", a frame's number and the suffix are added
_CSV_FIELDS = ("image", "frame", "width", "height", "x1", "y1", "x2", "y2", "score", "class_id", "class", "track")


class ResultWriter:
    """Collects predictions into files; use it in a ``with`` block.

    Args:
        folder: where the files go; made when missing.
        save: write annotated pictures and videos.
        json, csv, txt: write these formats too.
        sources: local files that must never be replaced.

    Attributes:
        written: files that are complete so far.

    Raises:
        OutputError: the folder or a file cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        save: bool = True,
        json: bool = False,
        csv: bool = False,
        txt: bool = False,
        sources: Iterable[Path] = (),
    ) -> None:
        self.folder = make_output_folder(folder)
        self.written: list[Path] = []
        self._save, self._json, self._csv, self._txt = save, json, csv, txt
        self._sources = {path.resolve() for path in sources}
        self._taken: set[str] = set()
        self._records: list[dict[str, Any]] = []
        self._video: _VideoWriter | None = None
        self._last: Frame | None = None
        self._stem = ""
        self._tracks: list[str] | None = None  # of the video at hand, as text of MOT Challenge

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            if self._video is not None:
                self._video.abandon(kind, error, traceback)
            return
        self._finish_video()
        if self._json:
            write_json(self.folder / JSON_NAME, self._records)
            self.written.append(self.folder / JSON_NAME)
        if self._csv:
            write_text(self.folder / CSV_NAME, _csv_text(self._records))
            self.written.append(self.folder / CSV_NAME)

    def write(self, prediction: Prediction) -> None:
        """Write one prediction; frames of a video follow each other."""
        frame = prediction.frame
        if not continues(self._last, frame):
            self._finish_video()
            suffix = _picture_suffix(frame.name) if frame.frame_index is None else ".mp4"
            self._stem = free_stem(_short_stem(frame.name), lambda name: self._is_taken(name, suffix))
            self._taken.add(self._stem.lower())  # lower case: some file systems do not tell the cases apart
        self._last = frame
        if self._save:
            if frame.frame_index is None:
                self.written.append(prediction.save(self.folder / f"{self._stem}{_picture_suffix(frame.name)}"))
            else:
                drawn = prediction.plot(bgr=True)
                if self._video is None:
                    size = (drawn.shape[1], drawn.shape[0])
                    self._video = _VideoWriter(self.folder / f"{self._stem}.mp4", size, frame.fps or 25.0)
                self._video.write(drawn)
        if self._json or self._csv:
            self._records.append(prediction.to_dict())
        if self._txt:
            position = "" if frame.frame_index is None else f"_{frame.frame_index:06d}"
            target = self.folder / TEXT_FOLDER / f"{self._stem}{position}.txt"
            height, width = frame.image.shape[:2]
            write_text(target, yolo_text(prediction.detections, width, height))
            self.written.append(target)
            if frame.frame_index is not None and prediction.detections.tracker_id is not None:
                self._tracks = self._tracks or []
                self._tracks.append(mot_text(frame.frame_index, prediction.detections))

    def _is_taken(self, stem: str, suffix: str) -> bool:
        return stem.lower() in self._taken or (self.folder / f"{stem}{suffix}").resolve() in self._sources

    def write_faults(self, faults: Iterable[Fault]) -> None:
        """Note in ``detections.json`` what could not be read."""
        for fault in faults:
            record: dict[str, Any] = {"image": fault.source, "error": fault.reason}
            if fault.frames is not None:
                record["frames_read"], record["frames"] = fault.frames
            self._records.append({**record, "objects": []})

    def _finish_video(self) -> None:
        if self._video is not None:
            self._video.finish()
            self.written.append(self._video.target)
            self._video = None
        if self._tracks is not None:
            target = self.folder / TRACK_FOLDER / f"{self._stem}.txt"
            write_text(target, "".join(self._tracks))
            self.written.append(target)
            self._tracks = None


class _VideoWriter:
    """An MP4 file that appears under its name when it is finished."""

    def __init__(self, target: Path, size: tuple[int, int], fps: float) -> None:
        self.target = target
        self._size = size
        self._stack = ExitStack()
        if not is_text(target):  # OpenCV crashes on such a name
            raise OutputError(f"cannot write the video {target}: the folder's name is not UTF-8; choose another --out")
        self._path = self._stack.enter_context(atomic_path(target))
        self._writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        if not self._writer.isOpened():
            raise self._abandoned(f"cannot write the video {target}: OpenCV has no MP4 encoder here; use --no-save")

    def write(self, bgr: Any) -> None:
        if (bgr.shape[1], bgr.shape[0]) != self._size:  # some streams change size on the way
            bgr = cv2.resize(bgr, self._size)
        self._writer.write(bgr)

    def finish(self) -> None:
        self._writer.release()
        # OpenCV does not say when the disk is full; the file is then cut short before its index.
        check = cv2.VideoCapture(str(self._path))
        whole = check.isOpened()
        check.release()
        if not whole:
            raise self._abandoned(
                f"cannot write {self.target}: the video is cut short; free some space or choose another --out"
            )
        self._stack.close()

    def abandon(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.release()
        self._stack.__exit__(kind, error, traceback)

    def _abandoned(self, message: str) -> OutputError:
        error = OutputError(message)
        self.abandon(OutputError, error, None)
        return error


def yolo_text(detections: supervision.Detections, width: int, height: int) -> str:
    """Return one line an object: ``class cx cy w h confidence``.

    The box is in fractions of the picture's size. Behind it stands the track of one that is followed.
    """
    lines = []
    for (x1, y1, x2, y2), score, class_id, track in zip(
        detections.xyxy.tolist(), detections.confidence, detections.class_id, track_numbers(detections), strict=True
    ):
        box = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        lines.append(f"{int(class_id)} {' '.join(f'{value:.6f}' for value in box)} {float(score):.5f}")
        lines.append("\n" if track is None else f" {track}\n")
    return "".join(lines)


def mot_text(frame: int, detections: supervision.Detections) -> str:
    """Return a line of MOT Challenge for each object that is followed.

    ``frame, id, left, top, width, height, score, -1, -1, -1``: frames and ids from 1, pixels.
    """
    return "".join(
        f"{frame + 1},{track + 1},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{float(score):.5f},-1,-1,-1\n"
        for (x1, y1, x2, y2), score, track in zip(
            detections.xyxy.tolist(), detections.confidence, track_numbers(detections), strict=True
        )
        if track is not None
    )


def _csv_text(records: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_CSV_FIELDS)
    for record in records:
        for item in record["objects"]:
            table.writerow(
                (
                    record["image"],
                    record.get("frame", ""),
                    record["width"],
                    record["height"],
                    *item["box_xyxy"],
                    item["score"],
                    item["class_id"],
                    item["class"],
                    item.get("track", ""),
                )
            )
    return text.getvalue()


def _short_stem(name: str) -> str:
    stem = printable(Path(name).stem or name)
    while len(os.fsencode(stem)) > _MAX_STEM_BYTES:
        stem = stem[:-1]
    return stem


def _picture_suffix(name: str) -> str:
    return ".jpg" if Path(name).suffix.lower() in (".jpg", ".jpeg", ".jfif", ".mpo") else ".png"

"""JSON lines and CSV rows, of which a file holds whole ones only."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from ghostyolo.errors import OutputError
from ghostyolo.live.outputs.output import Output
from ghostyolo.live.prediction import LivePrediction, when

COUNT_FIELDS = ("minute", "source", "region", "direction", "class", "count")
CSV_FIELDS = (
    "source",
    "time",
    "frame",
    "width",
    "height",
    "x1",
    "y1",
    "x2",
    "y2",
    "score",
    "class_id",
    "class",
    "track",
)
_STANDARD_OUTPUT = "-"


class LineFile:
    """A text file that only ever grows by whole lines.

    A line that a kill cut is removed at the next start; one that a full disk cut, at once.

    Args:
        path: the file; ``-`` is standard output.
        header: its first line, if it is new.

    Raises:
        OutputError: it cannot be opened.
    """

    def __init__(self, path: str, header: str = "") -> None:
        self._path = path
        self._size: int | None = None  # of a stream
        if path == _STANDARD_OUTPUT:
            self._handle = os.dup(sys.stdout.fileno())
            return
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            size = self._size = _whole_lines(self._handle)
            os.ftruncate(self._handle, size)
            os.lseek(self._handle, size, os.SEEK_SET)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}; choose another place") from error
        if header and self._size == 0:
            self.append(header)

    def append(self, text: str) -> None:
        """Add lines, all of them or none.

        Raises:
            OutputError: no space, or nobody reads.
        """
        data = text.encode("utf-8", "backslashreplace")
        try:
            done = 0
            while done < len(data):
                done += os.write(self._handle, data[done:])
            if self._size is not None:
                self._size += len(data)
        except OSError as error:
            if self._size is not None:
                os.ftruncate(self._handle, self._size)
            where = "standard output" if self._path == _STANDARD_OUTPUT else self._path
            raise OutputError(f"cannot write to {where}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


class JsonLines(Output):
    """One JSON line for each frame."""

    label = "JSON lines"
    queue = 16

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = LineFile(path)

    def write(self, prediction: LivePrediction) -> None:
        """Append a line."""
        self._file.append(json.dumps(prediction.record(), ensure_ascii=False) + "\n")

    def finish(self) -> None:
        """Close the file."""
        self._file.close()


class CsvRows(Output):
    """One CSV row for each object."""

    label = "CSV"
    queue = 16

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = LineFile(path, csv_lines([CSV_FIELDS]))

    def write(self, prediction: LivePrediction) -> None:
        """Append the objects of a frame."""
        record = prediction.record()
        head = [record[key] for key in CSV_FIELDS[:5]]
        rows = [
            [*head, *item["box_xyxy"], item["score"], item["class_id"], item["class"], item.get("track")]
            for item in record["objects"]
        ]
        if rows:
            self._file.append(csv_lines(rows))

    def finish(self) -> None:
        """Close the file."""
        self._file.close()


class MinuteCounts(Output):
    """CSV rows of what was counted in each minute."""

    label = "counts"
    queue = 16

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = LineFile(path, csv_lines([COUNT_FIELDS]))
        self._latest: dict[int, LivePrediction] = {}
        self._written: dict[int, dict[tuple[str, str, str], int]] = {}

    def write(self, prediction: LivePrediction) -> None:
        """Append the minute before, where another has begun."""
        latest = self._latest.get(prediction.source)
        if latest is not None and _minute(latest) != _minute(prediction):
            self._append(latest)
        self._latest[prediction.source] = prediction

    def finish(self) -> None:
        """Append the last minute, and close the file."""
        try:
            for prediction in self._latest.values():
                self._append(prediction)
        finally:
            self._file.close()

    def _append(self, prediction: LivePrediction) -> None:
        # Counts are totals, so that results which were left out cost nothing.
        before = self._written.get(prediction.source, {})
        now = {(count.region, count.direction, count.class_name): count.count for count in prediction.counted}
        self._written[prediction.source] = now
        head = (_minute(prediction), prediction.frame.name)
        rows = [(*head, *key, count - before.get(key, 0)) for key, count in now.items() if count > before.get(key, 0)]
        if rows:
            self._file.append(csv_lines(rows))


def _minute(prediction: LivePrediction) -> str:
    """The minute of a frame: of the clock, or of a file from 0."""
    if prediction.age_ms is None:
        return str(int(prediction.captured // 60))
    return when(prediction.captured - prediction.captured % 60)[:16] + "Z"


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _whole_lines(handle: int) -> int:
    """The size of a file without a last line that has no end."""
    end = os.lseek(handle, 0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 4096)
        os.lseek(handle, start, os.SEEK_SET)
        place = os.read(handle, end - start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0

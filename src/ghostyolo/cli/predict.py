"""``ghostyolo predict``: detect objects on pictures, folders, globs, URLs and videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ghostyolo.cli.settings import option, parse_confidence
from ghostyolo.errors import ConfigError
from ghostyolo.thresholds import Selection

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from ghostyolo.runtime.prediction import Prediction
    from ghostyolo.runtime.predictor import Predictor
    from ghostyolo.runtime.sources import Frame, Sources
    from ghostyolo.runtime.writers import ResultWriter

OUT = Path("runs/predict")
_MAX_ROWS = 20


def predict(
    sources: list[str] = typer.Argument(
        help="Pictures, folders, globs in quotes, URLs or video files.", metavar="SOURCE..."
    ),
    weights: str = typer.Option(
        help="A built-in name (bccd, neu-det, digits), a published one (yolox-nano), a file, or hf://owner/repo/file."
    ),
    out: Path | None = typer.Option(
        None,
        help=f"Folder for the results; default: {OUT}, or {OUT}-2, -3 ... where that holds some.",
        show_default=False,
    ),
    conf: str | None = option(Selection, "confidence", "--conf"),
    iou: float | None = option(Selection, "iou"),
    max_det: int | None = option(Selection, "max_detections", "--max-det"),
    classes: str | None = typer.Option(
        None, help="Report these classes alone: names or numbers, comma between.", show_default=False
    ),
    vote: bool | None = option(Selection, "vote"),
    tta: bool | None = option(Selection, "tta"),
    imgsz: int | None = typer.Option(
        None,
        help="Side in pixels that pictures are fitted to; default: the weights' own.",
        show_default=False,
    ),
    batch: int = typer.Option(1, help="Pictures in one call of the network."),
    track: str | None = typer.Option(
        None, help="Follow objects in videos: bytetrack, ocsort, botsort, cbiou or sort.", show_default=False
    ),
    track_option: list[str] = typer.Option(
        [], help="KEY=VALUE, a setting of the tracker by its own name; may be repeated.", show_default=False
    ),
    threads: int | None = typer.Option(None, help="CPU threads; default: the engine's choice.", show_default=False),
    engine_option: list[str] = typer.Option(
        [], help="KEY=VALUE, a setting of the engine by its own name; may be repeated.", show_default=False
    ),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:N."),
    layout: str | None = typer.Option(
        None, help="How another program's ONNX file answers (docs/export.md); default: found out.", show_default=False
    ),
    save: bool = typer.Option(True, help="Write annotated pictures and videos."),
    json: bool = typer.Option(False, "--json", help="Write detections.json."),
    csv: bool = typer.Option(False, "--csv", help="Write detections.csv."),
    txt: bool = typer.Option(False, "--txt", help="Write YOLO text, a file for each picture, in yolo/."),
) -> None:
    """Detect objects on pictures and videos.

    The exit status is 1 where not all of them could be read.
    """
    from rich.console import Console

    from ghostyolo.config import parse_assignments
    from ghostyolo.files import free_folder
    from ghostyolo.runtime.predictor import load
    from ghostyolo.runtime.writers import ResultWriter

    console = Console()
    predictor = load(
        weights,
        device=device,
        threads=threads,
        layout=layout,
        engine_options=parse_assignments(engine_option, "--engine-option"),
    )
    stream = predictor.open_sources(list(sources))
    predictions: Iterable[Prediction] = predictor.predict(
        stream,
        confidence=parse_confidence(conf),  # type: ignore[arg-type]  # another text is refused there
        iou=iou,
        max_detections=max_det,
        classes=None if classes is None else [name.strip() for name in classes.split(",") if name.strip()],
        vote=vote,
        tta=tta,
        imgsz=imgsz,
        batch=batch,
    )
    if track is None and track_option:
        raise ConfigError("--track-option is without effect: name a tracker with --track")
    if track is not None:
        from ghostyolo.runtime.tracking import track as follow_objects

        predictions = follow_objects(predictions, track, parse_assignments(track_option, "--track-option"))
    tally = Tally(batch)
    folder = free_folder(OUT) if out is None else out
    writer = ResultWriter(folder, save=save, json=json, csv=csv, txt=txt, sources=stream.paths)
    with writer, follow(stream) as follower:
        for prediction in predictions:
            writer.write(prediction)
            tally.add(prediction)
            follower.show(tally)
        writer.write_faults(stream.faults)
    tally.print(console, predictor)
    for line in stream.missing():
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    print_files(console, writer)
    if stream.faults:
        raise typer.Exit(1)


@contextmanager
def follow(stream: Sources) -> Iterator[Follower]:
    """Show a bar on the terminal while sources are read."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    terminal = Console(stderr=True)
    columns = (
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(bar_width=None),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        yield Follower(bar, stream)


class Follower:
    """A bar over all pictures and frames.

    Args:
        bar: on the terminal.
        stream: knows how many pictures and frames there are.
    """

    def __init__(self, bar: Progress, stream: Sources) -> None:
        self._bar, self._stream = bar, stream
        self._task = bar.add_task("", total=stream.expected_frames)

    def show(self, tally: Tally) -> None:
        """Show what was done so far."""
        self._bar.update(
            self._task,
            completed=tally.pictures,
            total=max(tally.pictures, self._stream.expected_frames),
            description=f"{tally.objects} objects",
        )


class Tally:
    """What was found, a row for each picture and each video.

    Args:
        batch: pictures in a call, of which the first is left out of the mean time.
    """

    def __init__(self, batch: int = 1) -> None:
        self.pictures = 0
        self.counts: Counter[str] = Counter()
        self._batch = batch
        self._last: Frame | None = None
        self._rows: list[_Row] = []
        self._times: list[float] = []

    @property
    def objects(self) -> int:
        """All that was found."""
        return self.counts.total()

    def add(self, prediction: Prediction) -> None:
        """Count one prediction."""
        from ghostyolo.runtime.sources import continues

        counts = prediction.counts()
        self.pictures += 1
        self.counts += counts
        self._times.append(prediction.milliseconds)
        last, self._last = self._last, prediction.frame
        if not continues(last, prediction.frame):
            self._rows.append(_Row(prediction.frame.name))
        row = self._rows[-1]
        row.frames += 1
        row.counts += counts
        row.milliseconds += prediction.milliseconds

    def print(self, console: Console, predictor: Predictor, max_rows: int = _MAX_ROWS) -> None:
        """Print the rows as a table, then the sums."""
        from rich.markup import escape
        from rich.table import Table

        from ghostyolo.runtime.prediction import count_text
        from ghostyolo.text import printable

        table = Table(title=f"{predictor.metadata.model} on {predictor.engine.name}", title_justify="left")
        table.add_column("image", overflow="fold")
        table.add_column("objects", justify="right")
        table.add_column("classes", overflow="fold")
        table.add_column("ms per image", justify="right")
        for row in self._rows[:max_rows]:
            label = printable(row.name) + ("" if row.frames == 1 else f" ({row.frames} frames)")
            kinds = count_text(row.counts) if row.counts else ""
            table.add_row(escape(label), str(row.counts.total()), escape(kinds), f"{row.milliseconds / row.frames:.1f}")
        console.print(table)
        if len(self._rows) > max_rows:
            console.print(f"... and {len(self._rows) - max_rows} more")
        kinds = f": {count_text(self.counts)}" if self.counts else ""
        console.print(
            f"{self.objects} objects on {self.pictures} pictures or frames{kinds}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        console.print(self.time_line(), highlight=False, soft_wrap=True)

    def time_line(self) -> str:
        """The mean time of a picture, and pictures a second, without the first call."""
        times = self._times[self._batch :]
        which = "without the first call" if times else "the first call"
        mean = sum(times or self._times) / len(times or self._times)
        return f"{mean:.1f} ms a picture, {1000 / mean:.1f} a second (letterbox, network, NMS; {which})"


@dataclass
class _Row:
    """A picture, or all frames of a video."""

    name: str
    frames: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    milliseconds: float = 0.0


def print_files(console: Console, writer: ResultWriter) -> None:
    """Say where the results are."""
    if not writer.written:
        console.print("no files written")
        return
    names = [str(path) for path in writer.written]
    shown = names if len(names) <= 3 else [f"{len(names)} files in {writer.folder}"]
    console.print(f"written: {', '.join(shown)}", markup=False, highlight=False, soft_wrap=True)

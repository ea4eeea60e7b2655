"""``ghostyolo predict``: detect objects on pictures, folders, globs, URLs and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ghostyolo.cli.settings import option
from ghostyolo.thresholds import Selection

if TYPE_CHECKING:
    from rich.console import Console

    from ghostyolo.runtime.predictor import Prediction, Predictor
    from ghostyolo.runtime.sources import Frame
    from ghostyolo.runtime.writers import ResultWriter

_MAX_ROWS = 20


def predict(
    sources: list[str] = typer.Argument(
        help="Pictures, folders, globs in quotes, URLs or video files.", metavar="SOURCE..."
    ),
    weights: str = typer.Option(
        help="A built-in name (bccd, neu-det, digits), a .onnx or .safetensors file, or hf://owner/repo/file."
    ),
    out: Path = typer.Option(Path("runs/predict"), help="Folder for the results."),
    conf: float | None = option(Selection, "confidence", "--conf"),
    iou: float | None = option(Selection, "iou"),
    vote: bool | None = option(Selection, "vote"),
    tta: bool | None = option(Selection, "tta"),
    imgsz: int | None = typer.Option(
        None,
        help="Side in pixels that pictures are fitted to; default: the weights' own.",
        show_default=False,
    ),
    batch: int = typer.Option(1, help="Pictures in one call of the network."),
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
    predictions = predictor.predict(stream, confidence=conf, iou=iou, vote=vote, tta=tta, imgsz=imgsz, batch=batch)
    tally = Tally()
    writer = ResultWriter(out, save=save, json=json, csv=csv, txt=txt, sources=stream.paths)
    with writer, console.status("reading ...") as status:
        for prediction in predictions:
            writer.write(prediction)
            tally.add(prediction)
            status.update(f"{tally.pictures} pictures or frames, {tally.objects} objects")
        writer.write_faults(stream.faults)
    tally.print(console, predictor)
    for line in stream.missing():
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    print_files(console, writer)
    if stream.faults:
        raise typer.Exit(1)


class Tally:
    """What was found, a row for each picture and each video."""

    def __init__(self) -> None:
        self.pictures = 0
        self.objects = 0
        self._last: Frame | None = None
        self._rows: list[list[str | int | float]] = []  # name, frames, objects, milliseconds in all

    def add(self, prediction: Prediction) -> None:
        """Count one prediction."""
        from ghostyolo.runtime.sources import continues

        found = len(prediction.detections)
        self.pictures += 1
        self.objects += found
        last, self._last = self._last, prediction.frame
        if continues(last, prediction.frame):
            row = self._rows[-1]
            row[1:] = [int(row[1]) + 1, int(row[2]) + found, float(row[3]) + prediction.milliseconds]
        else:
            self._rows.append([prediction.frame.name, 1, found, prediction.milliseconds])

    def print(self, console: Console, predictor: Predictor, max_rows: int = _MAX_ROWS) -> None:
        """Print the rows as a table."""
        from rich.markup import escape
        from rich.table import Table

        from ghostyolo.text import printable

        table = Table(title=f"{predictor.metadata.model} on {predictor.engine.name}", title_justify="left")
        table.add_column("image", overflow="fold")
        for header in ("objects", "ms per image", "engine"):
            table.add_column(header, justify="left" if header == "engine" else "right")
        for name, frames, objects, milliseconds in self._rows[:max_rows]:
            label = printable(str(name)) + ("" if frames == 1 else f" ({frames} frames)")
            table.add_row(
                escape(label), str(objects), f"{float(milliseconds) / int(frames):.1f}", predictor.engine.name
            )
        console.print(table)
        if len(self._rows) > max_rows:
            console.print(f"... and {len(self._rows) - max_rows} more")
        console.print(f"{self.objects} objects on {self.pictures} pictures or frames")


def print_files(console: Console, writer: ResultWriter) -> None:
    """Say where the results are."""
    if not writer.written:
        console.print("no files written")
        return
    names = [str(path) for path in writer.written]
    shown = names if len(names) <= 3 else [f"{len(names)} files in {writer.folder}"]
    console.print(f"written: {', '.join(shown)}", markup=False, highlight=False, soft_wrap=True)

"""``ghostyolo data``: check, split, convert and show a data set, fit anchors, make scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ghostyolo.data.check import CheckReport
    from ghostyolo.data.faults import Fault

app = typer.Typer(
    help="Check, split, convert and show data sets, fit anchors, or make a data set of scenes.", no_args_is_help=True
)

_STYLES = {"error": "red", "warning": "yellow", "info": "dim"}


@app.command()
def check(
    path: Path = typer.Argument(..., help="Folder of a data set, of any layout (docs/data.md)."),
    json: Path | None = typer.Option(None, "--json", help="Write everything found to this file."),
    fix: Path | None = typer.Option(
        None,
        "--fix",
        help="Write a clean copy in YOLO layout into this new folder. The original stays as it is.",
    ),
) -> None:
    """Print what is wrong with a data set.

    Exit status 0: nothing worse than warnings was found, which training mends or bears.

    Exit status 1: errors were found, labels or pictures that are lost or wrong.

    Exit status 2: PATH is no data set.
    """
    from rich.console import Console

    from ghostyolo.data.check import check_dataset, write_clean_copy
    from ghostyolo.files import write_json

    console = Console()
    with _progress("checking") as advance:
        report = check_dataset(path, advance)
    _print_report(console, report)
    if json is not None:
        write_json(json, report.to_json())
        console.print(f"report: {json}", highlight=False, soft_wrap=True)
    if fix is not None:
        clean = write_clean_copy(report, fix)
        images = sum(len(records) for records in clean.splits.values())
        console.print(f"clean copy: {fix} ({images} images)", highlight=False, soft_wrap=True)
    if report.count("error"):
        raise typer.Exit(1)


@app.command()
def split(
    path: Path = typer.Argument(..., help="Folder of a data set, of any layout (docs/data.md)."),
    val: float = typer.Option(0.2, "--val", help="Share of the pictures to validate on."),
    test: float = typer.Option(0.0, "--test", help="Share to test on; 0: a test split that is there stays."),
    seed: int = typer.Option(0, "--seed", min=0, help="Same pictures and seed, same split."),
    out: Path | None = typer.Option(
        None, "--out", help="New folder. Default: PATH-split beside the data.", show_default=False
    ),
    copy: bool = typer.Option(False, "--copy", help="Copy pictures and labels in YOLO layout, in place of lists."),
) -> None:
    """Split a data set anew, classes alike.

    Near-duplicates, copies and frames of one video stay on one side.

    Writes lists of pictures, a folder that is given to --data; the data stay where they are.
    """
    from rich.console import Console

    from ghostyolo.data.formats import load_dataset, write_dataset
    from ghostyolo.data.formats.load import asked_layout
    from ghostyolo.data.split import resplit, write_split

    console = Console()
    data = load_dataset(path)
    place = asked_layout(data.given)[1]
    out = out or place.with_name(f"{place.stem if place.is_file() else place.name}-split")
    parts = resplit(data, val, test, seed)
    if copy:
        write_dataset(parts, out)
    else:
        write_split(parts, out)
    for line in parts.summary():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"written: {out}; next: ghostyolo train --data {out}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def convert(
    path: Path = typer.Argument(..., help="Folder of a data set, of any layout (docs/data.md)."),
    to: str = typer.Option(..., "--to", help="yolo, coco, voc or parquet."),
    out: Path = typer.Option(..., "--out", help="New folder for the copy."),
) -> None:
    """Copy a data set, pictures and labels, into another layout.

    The copy is read again, and its pictures and boxes are counted against the original's.
    """
    from rich.console import Console

    from ghostyolo.data.convert import convert_dataset

    console = Console()
    converted = convert_dataset(path, out, to)
    for line in converted.source.faults.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for split, (pictures, classes) in converted.counts.items():
        console.print(f"{split}: {pictures} pictures with {sum(classes.values())} boxes, read again from {out}",
                      markup=False, highlight=False, soft_wrap=True)  # fmt: skip
    for note in converted.notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)


@app.command()
def show(
    path: Path = typer.Argument(..., help="Folder of a data set, of any layout (docs/data.md)."),
    out: Path | None = typer.Option(
        None, "--out", help="The page. Default: NAME.html in the current folder.", show_default=False
    ),
    sample: int = typer.Option(
        300,
        "--sample",
        min=0,
        help="Pictures in the page at most, evenly of all, those with faults among them; 0: all.",
    ),
) -> None:
    """Write one HTML page: pictures with boxes, faults, and how boxes are spread.

    It needs no server and nothing beside it.
    """
    from rich.console import Console

    from ghostyolo.data.formats.load import asked_layout
    from ghostyolo.data.show import show_dataset

    place = asked_layout(path)[1].resolve()
    out = out or Path(f"{place.stem if place.is_file() else place.name}.html")
    with _progress("drawing") as advance:
        page = show_dataset(path, out, sample=sample, progress=advance)
    shown = "" if page.shown == page.pictures else f", a sample of {page.pictures} (--sample 0 shows all)"
    Console().print(
        f"written: {page.path} ({page.shown} pictures{shown})", markup=False, highlight=False, soft_wrap=True
    )


@app.command()
def digits(
    out: Path = typer.Option(..., "--out", help="New folder for the data set."),
    train: int = typer.Option(1000, "--train", min=0, help="Scenes to train on."),
    val: int = typer.Option(200, "--val", min=0, help="Scenes to validate on, of handwriting not in train."),
    imgsz: int = typer.Option(320, "--imgsz", help="Side of the square scenes in pixels."),
    layout: str = typer.Option("yolo", "--layout", help="yolo, coco or voc."),
    seed: int = typer.Option(0, "--seed", min=0, help="Same seed, same files."),
    video: int = typer.Option(
        0, "--video", min=0, help="Instead, a video of so many frames: digits that move, and their true tracks."
    ),
) -> None:
    """Make labelled scenes: real handwritten digits on photographs and textures."""
    if video:
        _make_video(out, frames=video, imgsz=imgsz, seed=seed)
        return
    _make_scenes(out, "digits", of="digits", train=train, val=val, imgsz=imgsz, layout=layout, seed=seed)


@app.command()
def scenes(
    out: Path = typer.Option(..., "--out", help="New folder for the data set."),
    of: str = typer.Option("objects", "--of", help="objects, or digits as data digits makes."),
    train: int = typer.Option(1000, "--train", min=0, help="Scenes to train on."),
    val: int = typer.Option(200, "--val", min=0, help="Scenes to validate on, of drawings not in train."),
    imgsz: int = typer.Option(320, "--imgsz", help="Side of the square scenes in pixels."),
    layout: str = typer.Option("yolo", "--layout", help="yolo, coco or voc."),
    seed: int = typer.Option(0, "--seed", min=0, help="Same seed, same files."),
    without: str = typer.Option(
        "",
        "--without",
        help="Leave out, comma between: glyphs, handwriting, shapes, blobs, solids, fractals, photographs.",
        show_default=False,
    ),
) -> None:
    """Make labelled scenes of hundreds of kinds of objects, or of digits."""
    left_out = [name.strip() for name in without.split(",") if name.strip()]
    _make_scenes(out, "scenes", of=of, train=train, val=val, imgsz=imgsz, layout=layout, seed=seed, without=left_out)


@app.command()
def anchors(
    path: Path = typer.Argument(..., help="Folder of a data set, of any layout (docs/data.md)."),
    imgsz: int = typer.Option(640, "--imgsz", min=1, help="Side of the square training pictures in pixels."),
    count: int = typer.Option(9, "--count", help="Anchors in all, a multiple of the head's three levels."),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Fit anchors to the train split's boxes, and print them as YAML.

    Recall is the fraction of boxes within a factor of 4 of an anchor in width and height; others cannot be learned.
    """
    import sys
    from json import dumps

    from ghostyolo.data.fit_anchors import anchor_recall, box_sizes, fit_anchors
    from ghostyolo.data.formats import load_dataset
    from ghostyolo.errors import DataError
    from ghostyolo.extras import require
    from ghostyolo.models.default_anchors import COCO_ANCHORS, default_anchors

    require("scenes", "data anchors")
    data = load_dataset(path)
    data.warn("train")
    sizes = box_sizes(data.splits.get("train", []), imgsz)
    if not len(sizes):
        raise DataError(f"{path} has no boxes in a train split: there is nothing to fit anchors to")
    fitted = fit_anchors(sizes, count=count)
    default, recall = anchor_recall(sizes, default_anchors(tuple(COCO_ANCHORS))), anchor_recall(sizes, fitted)
    if json:
        report = {"boxes": len(sizes), "imgsz": imgsz, "recall_default": default, "recall": recall, "anchors": fitted}
        sys.stdout.write(dumps(report, indent=2) + "\n")
        return
    # Not by way of a console: the output is YAML, for a file.
    recalls = f"recall {default:.3f} with the default anchors, {recall:.3f} with these"
    levels = "".join(f"    - {dumps(level)}\n" for level in fitted)
    sys.stdout.write(f"# {len(sizes)} boxes at {imgsz} pixels: {recalls}\nhead:\n  type: anchor\n  anchors:\n{levels}")


def _make_scenes(out: Path, command: str, **options: Any) -> None:
    from rich.console import Console

    from ghostyolo.extras import require

    require("scenes", f"data {command}")
    from ghostyolo.data.scenes import generate_scenes

    with _progress("drawing") as advance:
        data = generate_scenes(out, **options, progress=advance)
    what = "digits" if options["of"] == "digits" else f"objects of {len(data.class_names)} kinds"
    counts = ", ".join(
        f"{split} {len(records)} images with {sum(len(record.labels) for record in records)} {what}"
        for split, records in data.splits.items()
    )
    Console().print(f"{data.root} ({data.layout}): {counts}", highlight=False, soft_wrap=True)


def _make_video(out: Path, **options: int) -> None:
    from rich.console import Console

    from ghostyolo.data.scenes.moving import TRUTH_NAME, generate_digit_video

    with _progress("drawing") as advance:
        path = generate_digit_video(out, **options, progress=advance)
    Console().print(f"{path}: {options['frames']} frames; tracks: {out / TRUTH_NAME}", highlight=False, soft_wrap=True)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_report(console: Console, report: CheckReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    splits = list(report.data.splits)
    console.print(f"{report.data.root} ({report.data.layout})", highlight=False, soft_wrap=True, markup=False)
    balance = Table("class", *splits, title="Objects")
    for column in balance.columns[1:]:
        column.justify = "right"
    counts = {split: report.objects(split) for split in splits}
    for name in report.data.class_names:
        balance.add_row(escape(name), *(str(counts[split][name]) for split in splits))
    balance.add_section()
    balance.add_row("all", *(str(sum(counts[split].values())) for split in splits))
    balance.add_row("images", *(str(len(report.data.splits[split])) for split in splits))
    console.print(balance)
    if not report.problems:
        console.print("No problems found.")
        return
    kinds: dict[str, list[Fault]] = {}
    for problem in report.problems:
        kinds.setdefault(problem.kind, []).append(problem)
    table = Table("problem", "level", "count", "first", title="Problems")
    table.columns[2].justify = "right"
    table.columns[3].overflow = "fold"
    for kind, faults in sorted(kinds.items(), key=lambda item: (list(_STYLES).index(item[1][0].level), item[0])):
        count, level = sum(fault.count for fault in faults), faults[0].level
        table.add_row(kind, f"[{_STYLES[level]}]{level}[/]", str(count), escape(str(faults[0])))
    console.print(table)
    errors, warnings = report.count("error"), report.count("warning")
    console.print(f"errors: {errors}, warnings: {warnings}; --json FILE lists each one")

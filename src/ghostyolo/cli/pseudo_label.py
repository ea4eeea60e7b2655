"""``ghostyolo pseudo-label``: let a detector label pictures, as a data set to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ghostyolo.cli.settings import option
from ghostyolo.pseudo.dataset import Thresholds
from ghostyolo.thresholds import Selection

if TYPE_CHECKING:
    from rich.console import Console

    from ghostyolo.pseudo.dataset import PseudoLabelReport

_MAX_SKIPPED = 10


def pseudo_label(
    sources: list[str] | None = typer.Argument(
        None, help="Picture files, folders and globs in quotes.", metavar="SOURCE...", show_default=False
    ),
    weights: str | None = typer.Option(
        None, help="A built-in name, a file or folder of weights, or hf://owner/repo/file.", show_default=False
    ),
    out: Path = typer.Option(..., help="New folder for the data set."),
    add_to: Path | None = typer.Option(
        None,
        help="Labelled data of the same classes, copied beside the pseudo-labels; its val and test stay alone.",
        show_default=False,
    ),
    conf: float | None = option(Thresholds, "confidence", "--conf"),
    class_conf: list[str] = typer.Option(
        [], help="NAME=CONF, another --conf for a class; may be repeated.", show_default=False
    ),
    background: float | None = option(Thresholds, "background"),
    link: bool = typer.Option(False, "--link", help="Hard links in place of copies of the pictures."),
    earlier: Path | None = typer.Option(
        None, "--from", help="Raise --conf of this earlier result; no detector runs.", show_default=False
    ),
    iou: float | None = option(Selection, "iou"),
    imgsz: int | None = typer.Option(
        None, help="Side in pixels that pictures are fitted to; default: the weights' own.", show_default=False
    ),
    batch: int = typer.Option(1, help="Pictures in one call of the network."),
    threads: int | None = typer.Option(None, help="CPU threads; default: the engine's choice.", show_default=False),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:N."),
) -> None:
    """Label pictures with a detector and write a data set that trains at once."""
    from rich.console import Console

    from ghostyolo.errors import ConfigError
    from ghostyolo.pseudo.label import check_new, pseudo_label, raise_thresholds
    from ghostyolo.runtime.predictor import load

    console = Console()
    named = dict(_named(text) for text in class_conf)
    thresholds = Thresholds.from_dict(
        {"confidence": conf, "class_confidence": named, "background": background}, "pseudo-label"
    )
    if earlier is not None:
        if sources or weights or add_to is not None or background is not None:
            raise ConfigError("--from takes pictures, weights, labelled data and background from the earlier result: "
                              "leave SOURCE, --weights, --add-to and --background out")  # fmt: skip
        report = raise_thresholds(earlier, out, thresholds=thresholds, link=link)
    else:
        if not sources or weights is None:
            raise ConfigError("give --weights and pictures to label, or --from with an earlier result")
        check_new(out)
        predictor = load(weights, device=device, threads=threads)
        with console.status("reading ...") as status:
            report = pseudo_label(
                predictor,
                list(sources),
                out,
                thresholds=thresholds,
                add_to=add_to,
                link=link,
                iou=iou,
                imgsz=imgsz,
                batch=batch,
                weights=weights,
                progress=lambda so_far: status.update(f"{so_far.pictures} pictures, {so_far.objects} objects"),
            )
    _print_report(console, report)
    console.print(f"written: {out}", markup=False, highlight=False, soft_wrap=True)


def _named(text: str) -> tuple[str, float]:
    from ghostyolo.errors import ConfigError

    name, equals, value = text.rpartition("=")
    try:
        if equals:
            return name, float(value)
    except ValueError:
        pass
    raise ConfigError(f"--class-conf {text}: it must be NAME=CONF, such as cat=0.7")


def _print_report(console: Console, report: PseudoLabelReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("class", "pseudo-labels")
    table.columns[1].justify = "right"
    for name, count in report.boxes.items():
        table.add_row(escape(name), str(count))
    table.add_section()
    table.add_row("all", str(report.objects))
    console.print(table)
    bins = [f"{index / 10:.1f}: {count}" for index, count in enumerate(report.histogram) if count]
    lines = [
        f"scores from {', '.join(bins)}",
        f"{report.labelled} pictures labelled, {report.background} kept as background",
        f"left out: {report.unsure} without a sure object, {report.already_labelled} in the labelled data, "
        f"{report.repeated} repeated",
    ]
    if report.added_to:
        splits = ", ".join(f"{count} {split}" for split, count in report.added_to.items())
        lines.append(f"beside the labelled data: {splits}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    for name, reason in report.skipped[:_MAX_SKIPPED]:
        console.print(f"skipped {name}: {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if report.skipped:
        console.print(f"skipped pictures: {len(report.skipped)}; report.json lists them", style="yellow")

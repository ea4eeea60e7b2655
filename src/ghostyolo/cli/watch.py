"""``ghostyolo watch``: detect objects live, on cameras, streams, files and folders."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import typer

from ghostyolo.cli.settings import option, parse_confidence
from ghostyolo.live.settings import WatchSettings
from ghostyolo.thresholds import Selection

if TYPE_CHECKING:
    from rich.console import Console

    from ghostyolo.live.watch import Watch

_LINE_EVERY = 1.0  # seconds, on a terminal
_LOG_EVERY = 60.0  # in a log


def watch(
    sources: list[str] = typer.Argument(
        help="Cameras by number, addresses (rtsp://, http:// ...), video files, folders that fill up.",
        metavar="SOURCE...",
    ),
    weights: str = typer.Option(help="A built-in name (bccd, neu-det, digits), a file of weights, or hf://..."),
    conf: str | None = option(Selection, "confidence", "--conf"),
    iou: float | None = option(Selection, "iou"),
    classes: str | None = typer.Option(
        None, help="Report these classes alone: names or numbers, comma between.", show_default=False
    ),
    imgsz: int | None = typer.Option(
        None, help="Side in pixels that frames are fitted to; default: the weights' own.", show_default=False
    ),
    threads: int | None = typer.Option(None, help="CPU threads; default: the engine's choice.", show_default=False),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:N."),
    engine_option: list[str] = typer.Option(
        [], help="KEY=VALUE, a setting of the engine by its own name; may be repeated.", show_default=False
    ),
    layout: str | None = typer.Option(
        None, help="How another program's ONNX file answers (docs/export.md); default: found out.", show_default=False
    ),
    every_frame: bool | None = option(WatchSettings, "every_frame", "--every-frame"),
    retries: int | None = option(WatchSettings, "retries"),
    timeout: float | None = option(WatchSettings, "timeout"),
    decoder: str | None = option(WatchSettings, "decoder"),
    track: str | None = option(WatchSettings, "track"),
    track_option: list[str] = typer.Option(
        [], help="KEY=VALUE, a setting of the tracker by its own name; may be repeated.", show_default=False
    ),
    line: list[str] = typer.Option(
        [],
        help="Count what crosses it: [NAME=]x1,y1,x2,y2, in pixels or fractions; may be repeated.",
        show_default=False,
    ),
    zone: list[str] = typer.Option(
        [], help="Count what enters it: [NAME=]x1,y1,x2,y2,x3,y3,...; may be repeated.", show_default=False
    ),
    regions: str | None = option(WatchSettings, "regions"),
    counts: str | None = option(WatchSettings, "counts"),
    video: str | None = option(WatchSettings, "video"),
    json_lines: str | None = option(WatchSettings, "json_lines", "--json"),
    csv: str | None = option(WatchSettings, "csv"),
    serve: str | None = option(WatchSettings, "serve"),
    show: bool | None = option(WatchSettings, "show", "--show"),
) -> None:
    """Detect objects live.

    Ends with the last file, or with Ctrl-C. The exit status is 1 where a source was given up or an output failed.
    """
    from rich.console import Console

    from ghostyolo.config import parse_assignments
    from ghostyolo.live.watch import watch as make_watch

    console = Console(stderr=True)  # standard output is for --json -

    def say(line: str) -> None:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)

    live = make_watch(
        sources,
        weights,
        imgsz=imgsz,
        device=device,
        threads=threads,
        layout=layout,
        engine_options=parse_assignments(engine_option, "--engine-option"),
        confidence=parse_confidence(conf),
        iou=iou,
        classes=None if classes is None else [name.strip() for name in classes.split(",") if name.strip()],
        say=say,
        every_frame=every_frame,
        retries=retries,
        timeout=timeout,
        decoder=decoder,
        track=track,
        track_options=parse_assignments(track_option, "--track-option"),
        lines=line,
        zones=zone,
        regions=regions,
        counts=counts,
        video=video,
        json_lines=json_lines,
        csv=csv,
        serve=serve,
        show=show,
    )
    for text in live.notes:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    _end_with_signals(live)
    _run(live, console)
    console.print(live.figures.summary(), markup=False, highlight=False, soft_wrap=True)
    for text in live.losses:
        say(text)
    if live.faults:
        raise typer.Exit(1)


def _run(live: Watch, console: Console) -> None:
    if not console.is_terminal:
        live.run(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True), _LOG_EVERY)
        return
    from rich.markup import escape

    with console.status("connecting ... (Ctrl-C ends)") as status:
        live.run(lambda line: status.update(escape(line)), _LINE_EVERY)


def _end_with_signals(live: Watch) -> None:
    """Let Ctrl-C and SIGTERM end the watch with its files closed; a second one ends it at once."""

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        live.stop()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)

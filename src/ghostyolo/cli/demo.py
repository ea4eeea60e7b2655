"""``ghostyolo demo``: see a detector work, here or in a browser.

It needs nothing but this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

_WEIGHTS = "digits"


def demo(
    out: Path = typer.Option(Path("runs/demo"), help="Folder for the results."),
    train: bool = typer.Option(
        False, "--train", help="Generate pictures, then train, evaluate, fold and predict (about 3 minutes)."
    ),
    web: bool = typer.Option(
        False, "--web", help="Open a page that detects in the browser: pictures, video, camera. Ctrl-C ends it."
    ),
    port: int = typer.Option(8000, min=0, max=65535, help="With --web: of the page; 0: any free one."),
    browser: bool = typer.Option(True, help="With --web: open the browser."),
) -> None:
    """Detect handwritten digits on the pictures that come with this package."""
    from rich.console import Console

    from ghostyolo.errors import ConfigError

    console = Console()
    if web and train:
        raise ConfigError("--web shows the built-in detector, --train makes another one: give one of them")
    if web:
        show_page(out, port, browser, console)
        return
    if train:
        from ghostyolo.extras import require
        from ghostyolo.openmp import wait_passively

        require("train", "demo --train")
        wait_passively()
        from ghostyolo.train.demo import run

        weights, pictures = run(out, console)
        show(weights, pictures, out / "predictions", console)
        return
    from ghostyolo.runtime.weights import assets_folder

    show(_WEIGHTS, assets_folder() / "pictures", out, console)


def show(weights: str | Path, pictures: Path, out: Path, console: Console) -> None:
    """Run weights on a folder of pictures; write annotated pictures and ``detections.json`` into ``out``.

    Raises:
        GhostYoloError: no such weights, no pictures, or ``out`` cannot be written.
    """
    from ghostyolo.cli.predict import Tally, print_files
    from ghostyolo.runtime.predictor import load
    from ghostyolo.runtime.writers import ResultWriter

    predictor = load(weights)
    stream = predictor.open_sources(pictures)
    tally = Tally()
    # The first call of a network allocates its memory; the table shows the times of the calls after it.
    next(predictor.predict(pictures))
    with ResultWriter(out, json=True, sources=stream.paths) as writer:
        for prediction in predictor.predict(stream):
            writer.write(prediction)
            tally.add(prediction)
    tally.print(console, predictor)
    print_files(console, writer)


def show_page(out: Path, port: int, browser: bool, console: Console) -> None:
    """Write the page of the built-in detector into ``out`` and serve it until Ctrl-C.

    Raises:
        ExportError: ONNX Runtime Web cannot be fetched.
        OutputError: ``out`` cannot be written, or the port is in use.
    """
    import shutil
    import webbrowser

    from ghostyolo.export.web import NETWORK, SUFFIX
    from ghostyolo.export.web.folder import write_page
    from ghostyolo.export.web.runtime_files import fetch_runtime
    from ghostyolo.export.web.server import PageServer
    from ghostyolo.files import staged
    from ghostyolo.runtime.predictor import load
    from ghostyolo.runtime.weights import assets_folder, resolve_weights

    folder = out / f"{_WEIGHTS}{SUFFIX}"
    server = PageServer(folder, port)  # before anything is fetched, since the port may be in use
    try:
        weights = resolve_weights(_WEIGHTS, suffixes=(".onnx",))
        package = fetch_runtime()
        with staged(folder) as page:
            page.mkdir()
            shutil.copyfile(weights, page / NETWORK)
            write_page(page, load(weights).metadata, package, assets_folder() / "pictures" / "digits-1.jpg")
        server.start()
        console.print(f"{server.url} shows {folder}; Ctrl-C ends it", markup=False, highlight=False, soft_wrap=True)
        if browser:
            webbrowser.open(server.url)
        server.wait()
    except KeyboardInterrupt:
        console.print("ended")
    finally:
        server.server_close()

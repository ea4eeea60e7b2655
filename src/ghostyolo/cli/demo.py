"""``ghostyolo demo``: see a detector work with nothing but this package."""

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
) -> None:
    """Detect handwritten digits on the pictures that come with this package."""
    from rich.console import Console

    console = Console()
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

"""``ghostyolo train``: train a detector on a labelled data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ghostyolo.cli.settings import SET, given_settings, list_option, option
from ghostyolo.train.recipe import TrainRecipe


def train(
    data: list[Path] = typer.Option(
        [],
        help="A data set: its folder, of any layout (docs/data.md). May be repeated: each set labels "
        "only its own classes, and what it does not label is no background.",
        show_default=False,
    ),
    model: str | None = typer.Option(
        None,
        help="Name of a network (ghostyolo models) or a YAML file; default: ghostyolo-n, with --weights theirs.",
        show_default=False,
    ),
    weights: str | None = option(TrainRecipe, "weights"),
    out: Path = typer.Option(Path("runs/train"), help="Folder for weights, logs and pictures of this run."),
    resume: bool = typer.Option(False, "--resume", help="Go on with the run in --out, after its last epoch."),
    recipe: str | None = typer.Option(None, help="YAML file of settings; options and --set come before it."),
    epochs: int | None = option(TrainRecipe, "epochs"),
    minutes: float | None = option(TrainRecipe, "minutes"),
    target_ms: float | None = option(TrainRecipe, "target_ms"),
    probe: bool | None = option(TrainRecipe, "probe", "--probe"),
    imgsz: int | None = option(TrainRecipe, "imgsz"),
    batch: int | None = option(TrainRecipe, "batch"),
    device: str | None = option(TrainRecipe, "device"),
    threads: int | None = option(TrainRecipe, "threads"),
    workers: int | None = option(TrainRecipe, "workers"),
    seed: int | None = option(TrainRecipe, "seed"),
    teacher: str | None = option(TrainRecipe, "teacher"),
    plots: bool | None = option(TrainRecipe, "plots", "--plots/--no-plots"),
    assignments: list[str] = SET,
    settings: bool = list_option(TrainRecipe),
) -> None:
    """Train a detector: best and last weights, curves and pictures are written to --out.

    Settings that are not given are chosen by what data and machine are like, and printed with their reasons.
    """
    flags = {key: value for key, value in locals().items() if key in TrainRecipe.model_fields}
    from ghostyolo.extras import require

    require("train", "training")
    from ghostyolo.train.detection.start import train_detector
    from ghostyolo.train.loop import main_console

    console = main_console(None)
    options = given_settings(flags, assignments)
    result = train_detector(
        data or None, model, out=out, recipe=recipe, options=options, resume=resume, console=console
    )
    _print_summary(console, result)


def _print_summary(console: Any, result: Any) -> None:
    epochs = len(result.rows)
    stopped = ", stopped early: no better AP" if result.stopped_early else ""
    console.print(f"{epochs} epochs in {result.seconds / 60:.1f} min{stopped}", highlight=False)
    if result.metrics is not None:
        scores = (result.metrics.AP, result.metrics.AP50)
        ap, ap50 = ("undefined" if score is None else f"{score:.3f}" for score in scores)
        console.print(f"best weights, epoch {result.best_epoch}: AP {ap}  AP50 {ap50}", highlight=False)
    console.print(f"weights: {result.best}", highlight=False, soft_wrap=True)
    console.print(f"curves and pictures: {result.folder}", highlight=False, soft_wrap=True)

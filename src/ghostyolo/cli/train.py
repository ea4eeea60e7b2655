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
    from ghostyolo.openmp import wait_passively

    require("train", "training")
    wait_passively()
    from ghostyolo.train.detection.start import train_detector
    from ghostyolo.train.loop import main_console

    console = main_console(None)
    options = given_settings(flags, assignments)
    result = train_detector(
        data or None, model, out=out, recipe=recipe, options=options, resume=resume, console=console
    )
    _print_summary(console, result, data)


def _print_summary(console: Any, result: Any, data: list[Path]) -> None:
    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    epochs = len(result.rows)
    stopped = ", stopped early: no better AP" if result.stopped_early else ""
    say(f"{epochs} epochs in {result.seconds / 60:.1f} min{stopped}")
    for name, what in (("results.png", "curves"), ("worst.html", "the worst pictures")):
        if (result.folder / name).is_file():
            say(f"{what}: {result.folder / name}")
    say(f"weights: {result.best}")
    say("next:")
    for line in next_commands(result.best, data, measured=result.metrics is not None):
        say(f"  {line}")


def next_commands(weights: Path, data: list[Path], *, measured: bool) -> list[str]:
    """Return what is usually done with new weights, ready to be typed.

    Args:
        data: the data sets that were given.
        measured: the weights know their best confidence.
    """
    import shlex

    one = ["--data", str(data[0])] if len(data) == 1 else []
    auto = ["--conf", "auto"] if measured else []
    commands = [
        *([["val", "--weights", str(weights), *one]] if one else []),
        ["predict", "--weights", str(weights), *auto, "PICTURES"],
        ["export", "--weights", str(weights), *one],
    ]
    return [f"ghostyolo {shlex.join(command)}" for command in commands]

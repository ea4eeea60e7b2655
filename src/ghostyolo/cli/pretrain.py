"""``ghostyolo pretrain``: train a backbone as a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ghostyolo.cli.settings import SET, given_settings, list_option, option
from ghostyolo.train.recipe import ClassRecipe


def pretrain(
    data: Path | None = typer.Option(
        None,
        help="A folder of class folders, or Parquet files with pictures and labels; any pictures with labels=false.",
        show_default=False,
    ),
    model: str | None = typer.Option(
        None, help="A backbone (ghostnetv3, mobilenetv2@n, timm:NAME), or a detector's name for its backbone."
    ),
    out: Path = typer.Option(Path("runs/pretrain"), help="Folder for weights, logs and metrics.json of this run."),
    resume: bool = typer.Option(False, "--resume", help="Go on with the run in --out, after its last epoch."),
    recipe: str | None = typer.Option(
        None, help="ghostnetv3, short, cifar, or a YAML file of settings; options and --set come before it."
    ),
    epochs: int | None = option(ClassRecipe, "epochs"),
    imgsz: int | None = option(ClassRecipe, "imgsz"),
    batch: int | None = option(ClassRecipe, "batch"),
    limit: int | None = option(ClassRecipe, "limit"),
    device: str | None = option(ClassRecipe, "device"),
    threads: int | None = option(ClassRecipe, "threads"),
    workers: int | None = option(ClassRecipe, "workers"),
    seed: int | None = option(ClassRecipe, "seed"),
    teacher: str | None = option(ClassRecipe, "teacher"),
    assignments: list[str] = SET,
    settings: bool = list_option(ClassRecipe),
) -> None:
    """Train a backbone as a classifier; weights and metrics go to --out."""
    flags = {key: value for key, value in locals().items() if key in ClassRecipe.model_fields}
    from ghostyolo.extras import require
    from ghostyolo.openmp import wait_passively

    require("train", "training")
    wait_passively()
    from ghostyolo.train.classification import start
    from ghostyolo.train.loop import main_console

    console = main_console(None)
    options = given_settings(flags, assignments)
    result = start.pretrain(data, model, out=out, recipe=recipe, options=options, resume=resume, console=console)
    _print_summary(console, result)


def _print_summary(console: Any, result: Any) -> None:
    stopped = ", stopped early: no better top-1" if result.stopped_early else ""
    console.print(f"{len(result.rows)} epochs in {result.seconds / 60:.1f} min{stopped}", highlight=False)
    if result.metrics.get("top1") is not None:
        top1, top5 = result.metrics["top1"], result.metrics["top5"]
        best = result.metrics["best_epoch"]
        console.print(f"best weights, epoch {best}: top-1 {top1:.4f}  top-5 {top5:.4f}", highlight=False)
    console.print(f"weights: {result.best}", highlight=False, soft_wrap=True)
    console.print(
        f"in a detector: ghostyolo train --set backbone_weights={result.best}", highlight=False, soft_wrap=True
    )

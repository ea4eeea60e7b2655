"""``ghostyolo train``: train a detector on a labelled data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def train(
    data: list[Path] = typer.Option(
        [],
        help="A data set: its folder (YOLO, COCO or VOC), data.yaml or COCO JSON. May be repeated: each set labels "
        "only its own classes, and what it does not label is no background.",
        show_default=False,
    ),
    join_classes: bool | None = typer.Option(
        None,
        "--join-classes/--part-classes",
        help="Of several data sets, classes of one name are one class [each set has its own].",
        show_default=False,
    ),
    set_temperature: float | None = typer.Option(
        None, help="Of several data sets, each is shown by its size^(1/T) [1: by its size]."
    ),
    model: str | None = typer.Option(
        None, help="Name of a network (ghostyolo models) or a YAML file; not needed with --weights."
    ),
    out: Path = typer.Option(Path("runs/train"), help="Folder for weights, logs and pictures of this run."),
    resume: bool = typer.Option(False, "--resume", help="Go on with the run in --out, after its last epoch."),
    weights: str | None = typer.Option(
        None, help="Fine-tune: a built-in name, a .safetensors file or hf://owner/repo/file."
    ),
    backbone_weights: str | None = typer.Option(
        None, help="Pretrained backbone: a Hugging Face name such as timm/ghostnetv3_100.in1k, or a file."
    ),
    recipe: Path | None = typer.Option(None, help="YAML file of the options below and of 'augment'."),
    epochs: int | None = typer.Option(None, help="Passes over the training split [100]."),
    imgsz: int | None = typer.Option(None, help="Side of the training pictures in pixels [640]."),
    batch: int | None = typer.Option(None, help="Pictures in one step of one device [16]."),
    nominal_batch: int | None = typer.Option(
        None, help="Accumulate gradients to so many pictures [64; fewer in short runs]."
    ),
    lr: float | None = typer.Option(None, help="Peak learning rate [by the optimizer]."),
    optimizer: str | None = typer.Option(None, help="auto, sgd or adamw [auto: adamw for short runs]."),
    weight_decay: float | None = typer.Option(None, help="Not on norms and biases [0.0005]."),
    warmup_epochs: float | None = typer.Option(None, help="Epochs of rising learning rate [3]."),
    close_mosaic: int | None = typer.Option(None, help="Last epochs without mosaic [a sixth of them, at most 10]."),
    patience: int | None = typer.Option(None, help="Stop after so many epochs without a better AP [100]."),
    val_every: int | None = typer.Option(None, help="Validate every so many epochs [1]."),
    seed: int | None = typer.Option(None, help="Same seed, same result on one machine [0]."),
    precision: str | None = typer.Option(None, help="32, 16 or bf16 [32]."),
    device: str | None = typer.Option(None, help="auto, cpu, cuda or cuda:N [auto]."),
    devices: int | None = typer.Option(None, help="Devices that train together, by DDP [1]."),
    num_nodes: int | None = typer.Option(None, "--nodes", help="Machines that train together [1]."),
    threads: int | None = typer.Option(None, help="CPU threads [torch's choice]."),
    workers: int | None = typer.Option(None, help="Processes that read pictures; 0: this one [0]."),
    cache: str | None = typer.Option(None, help="ram keeps resized pictures; none reads them anew [ram]."),
    channels_last: bool | None = typer.Option(
        None, "--channels-last/--channels-first", help="Memory layout [first].", show_default=False
    ),
    qat: bool | None = typer.Option(
        None,
        "--qat",
        help="Fine-tune --weights for INT8 files [3 epochs, AdamW, lr 1e-4, no mosaic].",
        show_default=False,
    ),
    teacher: str | None = typer.Option(
        None, help="Learn from a trained detector too: a .safetensors file, a built-in name or hf://owner/repo/file."
    ),
    distil: str | None = typer.Option(
        None, help="What of it: logits,boxes or logits=1,boxes=1,features=0.5,tau=4 [all that fits]."
    ),
    plots: bool | None = typer.Option(
        None, "--plots/--no-plots", help="Draw result pictures at the end [yes].", show_default=False
    ),
    branches: int | None = typer.Option(None, min=1, help="Branches of each convolution [the model's]."),
    pointwise_branch: bool | None = typer.Option(
        None,
        "--pointwise-branch/--no-pointwise-branch",
        help="A 1x1 branch beside those of larger kernels [yes].",
        show_default=False,
    ),
    channels: int = typer.Option(3, min=1, help="Of the pictures: 3, or 1 for grey."),
) -> None:
    """Train a detector: best and last weights, curves and pictures are written to --out."""
    given = dict(locals())
    from ghostyolo.extras import require

    require("train", "training")
    options = {key: given[key] for key in _recipe_keys() & set(given) if given[key] is not None}

    from rich.console import Console

    from ghostyolo.train.detection.start import train_detector
    from ghostyolo.train.process import is_main_process
    from ghostyolo.train.recipe import read_recipe_file

    if recipe is not None:
        options = {**read_recipe_file(recipe), **options}
    console = Console(quiet=not is_main_process())
    result = train_detector(
        data or None,
        model,
        out=out,
        weights=weights,
        backbone_weights=backbone_weights,
        channels=channels,
        branches=branches,
        pointwise_branch=pointwise_branch,
        options=options,
        resume=resume,
        console=console,
    )
    _print_summary(console, result)


def _recipe_keys() -> set[str]:
    from ghostyolo.train.recipe import TrainRecipe

    return set(TrainRecipe.model_fields)


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

"""``ghostyolo pretrain``: train a backbone as a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def pretrain(
    data: Path | None = typer.Option(
        None, help="A folder of class folders, or Parquet files with pictures and labels.", show_default=False
    ),
    model: str | None = typer.Option(
        None, help="A backbone (ghostnetv3, mobilenetv2@n, timm:NAME), or a detector's name for its backbone."
    ),
    out: Path = typer.Option(Path("runs/pretrain"), help="Folder for weights, logs and metrics.json of this run."),
    resume: bool = typer.Option(False, "--resume", help="Go on with the run in --out, after its last epoch."),
    recipe: str | None = typer.Option(None, help="ghostnetv3, short, cifar, or a YAML file of the options below."),
    epochs: int | None = typer.Option(None, help="Passes over the training pictures [100]."),
    limit: int | None = typer.Option(None, help="Train on at most so many pictures, evenly of all classes [all]."),
    imgsz: int | None = typer.Option(None, help="Side of the training pictures in pixels [224]."),
    batch: int | None = typer.Option(None, help="Pictures in one step of one device [256]."),
    nominal_batch: int | None = typer.Option(None, help="Accumulate gradients to so many pictures [no]."),
    branches: int | None = typer.Option(None, help="Branches of each convolution in training [the model's]."),
    pointwise_branch: bool | None = typer.Option(
        None,
        "--pointwise-branch/--no-pointwise-branch",
        help="A 1x1 branch beside those of larger kernels [yes].",
        show_default=False,
    ),
    output_stride: int | None = typer.Option(None, help="32; 16 or 8 for small pictures [32]."),
    dropout: float | None = typer.Option(None, help="Before the last layer [the model's]."),
    optimizer: str | None = typer.Option(None, help="Any of timm's: lamb, adamw, sgd ... [adamw]."),
    lr: float | None = typer.Option(None, help="Peak learning rate [0.001]."),
    momentum: float | None = typer.Option(None, help="Of SGD and its like [0.9]."),
    weight_decay: float | None = typer.Option(None, help="Not on batch norms and biases [0.05]."),
    schedule: str | None = typer.Option(None, help="cosine or step [cosine]."),
    final_lr: float | None = typer.Option(None, help="Cosine: last learning rate as a fraction of the peak [0]."),
    decay_rate: float | None = typer.Option(None, help="Step: factor of each fall [0.97]."),
    decay_epochs: float | None = typer.Option(None, help="Step: epochs between two falls [2.4]."),
    warmup_epochs: float | None = typer.Option(None, help="Epochs of rising learning rate [5]."),
    warmup_lr: float | None = typer.Option(None, help="Learning rate at the first step [1e-6]."),
    gradient_clip: float | None = typer.Option(None, help="Largest norm of the gradients; 0: no limit [0]."),
    label_smoothing: float | None = typer.Option(None, help="Share of a target spread over all classes [0.1]."),
    ema_decay: float | None = typer.Option(None, help="Of the averaged weights; 0: no average [0.9999]."),
    teacher: str | None = typer.Option(None, help="Learn from it: a .safetensors classifier, or a timm name."),
    teacher_weights: str | None = typer.Option(None, help="Weights file for a timm teacher [its pretrained ones]."),
    teacher_imgsz: int | None = typer.Option(None, help="Resize pictures to this side for the teacher [no]."),
    teacher_cache: str | None = typer.Option(None, help="Folder to keep the teacher's logits in [none]."),
    alpha: float | None = typer.Option(None, help="Share of the teacher in the loss, 0 to 1 [0.5]."),
    tau: float | None = typer.Option(None, help="Temperature of the distillation, above 0 [1]."),
    crop: str | None = typer.Option(None, help="resized or padded [resized]."),
    min_area: float | None = typer.Option(None, help="Smallest resized crop, share of the picture [0.08]."),
    padding: int | None = typer.Option(None, help="Pixels around padded crops [4]."),
    fliplr: float | None = typer.Option(None, help="Probability of a mirror image [0.5]."),
    randaugment: str | None = typer.Option(None, help="timm's description, such as rand-m9-mstd0.5-inc1; '' [off]."),
    color_jitter: float | None = typer.Option(None, help="Of brightness, contrast and saturation [0]."),
    erase: float | None = typer.Option(None, help="Probability of random erasing [0]."),
    mixup: float | None = typer.Option(None, help="Strength of Mixup [0]."),
    cutmix: float | None = typer.Option(None, help="Strength of CutMix [0]."),
    mix_prob: float | None = typer.Option(None, help="Probability that a batch is mixed [1]."),
    val_share: float | None = typer.Option(None, help="Held out where there is no validation split [0.1]."),
    val_crop: float | None = typer.Option(None, help="Share of the shorter side that is validated on [0.875]."),
    val_every: int | None = typer.Option(None, help="Validate every so many epochs [1]."),
    patience: int | None = typer.Option(None, help="Stop after so many epochs without a better top-1; 0: never [0]."),
    seed: int | None = typer.Option(None, help="Same seed, same result on one machine [0]."),
    precision: str | None = typer.Option(None, help="32, 16 or bf16 [32]."),
    device: str | None = typer.Option(None, help="auto, cpu, cuda or cuda:N [auto]."),
    devices: int | None = typer.Option(None, help="Devices that train together, by DDP [1]."),
    num_nodes: int | None = typer.Option(None, "--nodes", help="Machines that train together [1]."),
    threads: int | None = typer.Option(None, help="CPU threads [torch's choice]."),
    workers: int | None = typer.Option(None, help="Processes that read pictures; 0: this one [0]."),
    cache: str | None = typer.Option(None, help="ram keeps decoded pictures; none decodes them anew [none]."),
    channels_last: bool | None = typer.Option(
        None, "--channels-last/--channels-first", help="Memory layout [first].", show_default=False
    ),
    channels: int = typer.Option(3, min=1, help="Of the pictures: 3, or 1 for grey."),
    label_column: str | None = typer.Option(None, help="Of Parquet files where it has no usual name [label]."),
) -> None:
    """Train a backbone as a classifier: best and last weights and metrics.json are written to --out."""
    given = dict(locals())
    from ghostyolo.extras import require

    require("train", "training")
    from rich.console import Console

    from ghostyolo.data.augment.config import ClassAugment
    from ghostyolo.train.classification import start
    from ghostyolo.train.process import is_main_process
    from ghostyolo.train.recipe import ClassRecipe

    keys = {*ClassRecipe.model_fields, *ClassAugment.model_fields} & set(given)
    console = Console(quiet=not is_main_process())
    result = start.pretrain(
        data,
        model,
        out=out,
        recipe=recipe,
        options={key: given[key] for key in keys},
        channels=channels,
        label_column=label_column,
        resume=resume,
        console=console,
    )
    _print_summary(console, result)


def _print_summary(console: Any, result: Any) -> None:
    stopped = ", stopped early: no better top-1" if result.stopped_early else ""
    console.print(f"{len(result.rows)} epochs in {result.seconds / 60:.1f} min{stopped}", highlight=False)
    if result.metrics.get("top1") is not None:
        top1, top5 = result.metrics["top1"], result.metrics["top5"]
        best = result.metrics["best_epoch"]
        console.print(f"best weights, epoch {best}: top-1 {top1:.4f}  top-5 {top5:.4f}", highlight=False)
    console.print(f"weights: {result.best}", highlight=False, soft_wrap=True)
    console.print(f"in a detector: ghostyolo train --backbone-weights {result.best}", highlight=False, soft_wrap=True)

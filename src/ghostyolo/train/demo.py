"""``ghostyolo demo --train``: a detector's whole life in about three minutes.

Generate labelled scenes, train, evaluate, fold. The figures at the end are those of so short a training; the built-in
``digits`` weights had eight times as much (benchmarks/make_builtin.py).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from ghostyolo.data.scenes import generate_scenes
from ghostyolo.errors import OutputError
from ghostyolo.extras import require
from ghostyolo.models.count import count_parameters
from ghostyolo.models.weights import load_checkpoint, save_checkpoint
from ghostyolo.nn.reparam import fold
from ghostyolo.train.detection.start import train_detector

MODEL = "yolov13n-ghostnetv3"
SHOWN = 6  # pictures that the folded detector is tried on


@dataclass(frozen=True)
class DemoPlan:
    """How much the demo does; the defaults take about three minutes on two cores."""

    train: int = 480
    val: int = 80
    imgsz: int = 160
    epochs: int = 8
    seed: int = 0


def run(out: Path, console: Console, plan: DemoPlan | None = None) -> tuple[Path, Path]:
    """Generate, train, evaluate and fold, telling each step.

    Args:
        out: a folder that does not exist yet, or is empty.
        console: where progress is shown.
        plan: how much of it.

    Returns:
        The folded checkpoint, and a folder of a few validation pictures to try it on.

    Raises:
        OutputError: ``out`` holds something, or cannot be written.
    """
    require("scenes", "demo --train")
    plan = plan or DemoPlan()
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty: give demo --train a new folder with --out")
    console.print(f"[bold]1/4[/] generate {plan.train} + {plan.val} labelled scenes")
    scenes = generate_scenes(
        out / "data", of="digits", train=plan.train, val=plan.val, imgsz=2 * plan.imgsz, seed=plan.seed
    )

    console.print(f"[bold]2/4[/] train {MODEL} from scratch, {plan.epochs} epochs at {plan.imgsz} px")
    options = {
        "plan": False,
        "epochs": plan.epochs,
        "imgsz": plan.imgsz,
        "batch": 16,
        "branches": 1,
        "nominal_batch": 16,
        "lr": 0.003,
        "warmup_epochs": 1.0,
        "close_mosaic": 0,
        "val_every": plan.epochs,
        "seed": plan.seed,
        "channels_last": True,
        "augment": {"mosaic": 0.0, "fliplr": 0.0, "scale": 0.15, "translate": 0.05},
    }
    result = train_detector(out / "data", MODEL, out=out / "train", options=options, console=console)

    console.print("[bold]3/4[/] evaluated on handwriting it never saw, after so short a training:")
    if result.metrics is not None:
        scores = result.metrics
        console.print(f"      mAP50 {scores.AP50 or 0:.3f}, mAP50-95 {scores.AP or 0:.3f}, {result.seconds:.0f} s")

    model, metadata = load_checkpoint(result.best)
    folded = fold(model)
    image = torch.rand(1, 3, plan.imgsz, plan.imgsz)
    with torch.no_grad():
        difference = float((folded(image)[0] - model(image)[0]).abs().max())
    target = out / "digits-folded.safetensors"
    save_checkpoint(folded, metadata.model_copy(update={"deployed": True}), target)  # type: ignore[arg-type]
    console.print(
        f"[bold]4/4[/] fold: {count_parameters(model):,} to {count_parameters(folded):,} parameters, "
        f"largest difference {difference:.1e} pixels"
    )
    pictures = out / "pictures"
    pictures.mkdir()
    for record in scenes.splits["val"][:SHOWN]:
        shutil.copy(record.path, pictures)
    return target, pictures

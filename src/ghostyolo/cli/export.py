"""``ghostyolo export``: fold a checkpoint, write it for a device, compare."""

from __future__ import annotations

from pathlib import Path

import typer

from ghostyolo.cli.settings import option, parse_confidence
from ghostyolo.export.formats import export_formats
from ghostyolo.thresholds import Selection

FORMATS = ", ".join(kind.name for kind in export_formats())


def export(
    weights: str = typer.Option(..., help="A .safetensors checkpoint, or a built-in name such as bccd."),
    format: str = typer.Option("onnx", help=f"One of {FORMATS}."),
    out: Path | None = typer.Option(None, help="File or folder to write. [default: beside the checkpoint]"),
    imgsz: str | None = typer.Option(
        None,
        help="Side in pixels, or HEIGHTxWIDTH, of a file with a fixed size; default: the weights' own.",
        show_default=False,
    ),
    dynamic: bool | None = typer.Option(
        None,
        "--dynamic/--static",
        help="Any size and batch, or one; default: any where the format can.",
        show_default=False,
    ),
    batch: int = typer.Option(1, help="Pictures in a call of a file with a fixed size."),
    precision: str = typer.Option("fp32", help="fp32, fp16 or int8."),
    output: str = typer.Option("decoded", help="decoded boxes and scores, raw maps of the head, or nms: detections."),
    conf: str | None = option(Selection, "confidence", "--conf", when="With --output nms"),
    iou: float | None = option(Selection, "iou", when="With --output nms"),
    max_detections: int | None = option(Selection, "max_detections", when="With --output nms, and class"),
    opset: int | None = typer.Option(None, help="ONNX operator set. [default: 18]", show_default=False),
    rewrite: bool | None = typer.Option(
        None,
        "--rewrite/--no-rewrite",
        help="Write an equal graph that is faster in ONNX Runtime and OpenVINO [in these, but for INT8 files].",
        show_default=False,
    ),
    images: Path | None = typer.Option(
        None, help="Pictures to compare file and network on; default: of --data, else built-in.", show_default=False
    ),
    data: Path | None = typer.Option(None, help="Data set to compare AP on.", show_default=False),
    split: str = typer.Option("val", help="Split of --data that AP is compared on."),
    calibration: Path | None = typer.Option(
        None, help="With --precision int8: pictures to calibrate on; default: the train split of --data."
    ),
    calibration_images: int = typer.Option(300, help="With --precision int8: calibrate on so many of them."),
    max_drop: float = typer.Option(
        1.0, help="With --precision int8: points of AP it may cost on --data; layers stay in float until it does."
    ),
    overwrite: bool = typer.Option(False, help="Replace what stands at --out."),
) -> None:
    """Fold a detector, write it for another engine, and compare the two."""
    from ghostyolo.extras import require

    require("train", "export")
    from rich.console import Console

    from ghostyolo.export.exporter import export_detector

    result = export_detector(
        weights,
        out,
        format,
        images=images,
        data=data,
        split=split,
        calibration=calibration,
        calibration_images=calibration_images,
        max_drop=max_drop,
        overwrite=overwrite,
        imgsz=parse_size(imgsz) if imgsz else None,
        dynamic=dynamic,
        batch=batch,
        precision=precision,
        output=output,
        nms={"confidence": parse_confidence(conf), "iou": iou, "max_detections": max_detections},
        opset=opset,
        rewrite=rewrite,
    )
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{result.path}: {result.megabytes:.2f} MB in {result.seconds:.0f} s", markup=False)
    for line in result.quantisation.lines() if result.quantisation is not None else ():
        console.print(line, markup=False)
    for line in result.rewriting:
        console.print(f"rewritten, {line}", markup=False)
    for origin in result.derived_from:
        console.print(origin.line(), markup=False)
    if result.parity is not None:
        parity = result.parity
        console.print(f"compared with the network on {parity.images} {parity.origin}: {parity.summary()}", markup=False)
        console.print(f"report: {result.report}", markup=False)


def parse_size(text: str) -> int | tuple[int, int]:
    """``"320"`` or ``"192x320"`` (height x width).

    Raises:
        ConfigError: neither.
    """
    from ghostyolo.errors import ConfigError

    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ConfigError(f"imgsz '{text}' is neither a side in pixels (320) nor HEIGHTxWIDTH (192x320)")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))

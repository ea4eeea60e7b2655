"""``ghostyolo import``: a published checkpoint becomes one of ours."""

from __future__ import annotations

from pathlib import Path

import typer


def import_(
    file: Path = typer.Argument(help="The published file: .pt, .pth, .safetensors, or the .onnx of a YOLOX."),
    model: str = typer.Option(..., "--as", help="Which network it is, such as yolov8n or yolox-nano."),
    out: Path | None = typer.Option(None, help="The .safetensors to write. [default: NAME.safetensors, here]"),
    overwrite: bool = typer.Option(False, help="Replace what stands at --out."),
) -> None:
    """Turn a published checkpoint into one of ours, with names and licence."""
    from ghostyolo.extras import require

    require("train", "importing weights")
    from rich.console import Console

    from ghostyolo.errors import OutputError
    from ghostyolo.integrations.published.importer import import_checkpoint

    target = Path(f"{model}.safetensors") if out is None else out
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists already: choose another --out, or --overwrite")
    result = import_checkpoint(file, model, target)
    console = Console(soft_wrap=True, highlight=False)
    metadata = result.metadata
    console.print(f"{result.path}: {metadata.model}, {len(metadata.class_names)} classes", markup=False)
    if result.measured:
        console.print(
            f"the file had {result.measured} batch norms folded into its convolutions: they are as measured on "
            "built-in pictures, which changes no answer"
        )
    for origin in metadata.derived_from:
        console.print(origin.line(), markup=False)

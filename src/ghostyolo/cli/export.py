"""``ghostyolo export``: fold a checkpoint and write it for a device."""

from __future__ import annotations

from pathlib import Path

import typer


def export(
    weights: str = typer.Option(..., help="A .safetensors checkpoint, or a built-in name such as bccd."),
    format: str = typer.Option("onnx", help="Only onnx so far."),
    out: Path | None = typer.Option(None, help="File to write. [default: beside the checkpoint]"),
    half_weights: bool = typer.Option(
        False, help="Store weights as float16, half the file; the arithmetic stays float32."
    ),
    opset: int = typer.Option(18, min=18, help="ONNX operator set."),
) -> None:
    """Fold branches and batch norms, write the model with its metadata inside, and compare it with the network."""
    from ghostyolo.errors import ConfigError, suggest
    from ghostyolo.extras import require

    require("train", "export")
    if format != "onnx":
        raise ConfigError(f"unknown --format '{format}': {suggest(format, ['onnx'])}")
    from rich.console import Console

    from ghostyolo.export.onnx import export_onnx
    from ghostyolo.models.weights import load_checkpoint
    from ghostyolo.runtime.weights import resolve_weights

    source = resolve_weights(weights, suffixes=(".safetensors",))
    model, metadata = load_checkpoint(source)
    target = out or (Path(f"{weights}.onnx") if weights == source.stem else source.with_suffix(".onnx"))
    parity = export_onnx(model, metadata, target, opset=opset, half_weights=half_weights)
    Console().print(
        f"{target}: {target.stat().st_size / 1e6:.2f} MB, within {parity.pixels:.2g} pixels and "
        f"{parity.score:.2g} of score of the network",
        highlight=False,
    )

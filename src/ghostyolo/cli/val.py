"""``ghostyolo val``: score a detector on a labelled data set with COCO metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ghostyolo.cli.settings import option
from ghostyolo.thresholds import MetricSelection

if TYPE_CHECKING:
    from rich.console import Console

    from ghostyolo.evaluate import EvaluationResult
    from ghostyolo.runtime.predictor import Predictor


def val(
    weights: str = typer.Option(
        help="A built-in name (bccd, neu-det, digits), a .onnx or .safetensors file, or hf://owner/repo/file."
    ),
    data: Path = typer.Option(help="A data set: its folder, of any layout (docs/data.md)."),
    split: str = typer.Option("val", help="The part of the data set to score on."),
    imgsz: int | None = typer.Option(
        None,
        help="Side in pixels that pictures are fitted to; default: the weights' own.",
        show_default=False,
    ),
    batch: int = typer.Option(16, min=1, help="Pictures in one call of the network."),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:N."),
    layout: str | None = typer.Option(
        None, help="How another program's ONNX file answers (docs/export.md); default: found out.", show_default=False
    ),
    threads: int | None = typer.Option(None, help="CPU threads; default: the engine's choice.", show_default=False),
    engine_option: list[str] = typer.Option(
        [], help="KEY=VALUE, a setting of the engine by its own name; may be repeated.", show_default=False
    ),
    conf: float | None = option(MetricSelection, "confidence", "--conf"),
    iou: float | None = option(MetricSelection, "iou"),
    vote: bool | None = option(MetricSelection, "vote"),
    tta: bool | None = option(MetricSelection, "tta"),
    json: Path | None = typer.Option(None, "--json", help="Write the metrics to this file, values 0 to 1."),
    plots: Path | None = typer.Option(
        None, help="Write PR curves, the confusion matrix and example pictures to this folder."
    ),
) -> None:
    """Score a detector on a labelled data set with COCO metrics."""
    from rich.console import Console
    from rich.progress import Progress

    from ghostyolo.config import parse_assignments
    from ghostyolo.data.split import load_split
    from ghostyolo.evaluate import evaluate
    from ghostyolo.extras import require
    from ghostyolo.files import make_output_folder, write_json
    from ghostyolo.runtime.predictor import load

    if plots is not None:
        require("train", "--plots")
    for folder in (plots, json.parent if json is not None else None):
        if folder is not None:
            make_output_folder(folder)
    predictor = load(
        weights,
        device=device,
        threads=threads,
        layout=layout,
        engine_options=parse_assignments(engine_option, "--engine-option"),
    )
    console = Console()
    dataset = load_split(data, split, predictor.weights)
    for line in dataset.summary():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    dataset.require_objects(split)

    terminal = Console(stderr=True)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("evaluating", total=len(dataset.splits[split]))
        result = evaluate(
            predictor,
            dataset.splits[split],
            dataset.class_names,
            MetricSelection.from_dict({"confidence": conf, "iou": iou, "vote": vote, "tta": tta}, "val"),
            imgsz=imgsz,
            batch=batch,
            progress=lambda done, _: bar.update(task, completed=done),
        )
    written = []
    if json is not None:
        write_json(json, result.metrics.to_json())
        written.append(json)
    print_metrics(console, result, predictor, f"{predictor.metadata.model} on {data}, {split}")
    for path, reason in result.skipped:
        console.print(f"skipped {path}: {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if plots is not None:
        from ghostyolo.evaluate.plots import write_result_pictures

        written += write_result_pictures(result, plots)
    if written:
        names = ", ".join(str(path) for path in written)
        console.print(f"written: {names}", markup=False, highlight=False, soft_wrap=True)


def print_metrics(console: Console, result: EvaluationResult, predictor: Predictor, title: str) -> None:
    """Print a row for all classes together and one for each."""
    from rich.markup import escape
    from rich.table import Table

    metrics = result.metrics
    table = Table(title=escape(title), title_justify="left")
    table.add_column("class", overflow="fold")
    for header in ("images", "objects", "AP", "AP50"):
        table.add_column(header, justify="right")
    table.add_row(
        "all",
        str(metrics.images),
        str(metrics.objects),
        show(metrics.AP),
        show(metrics.AP50),
        style="bold",
        end_section=True,
    )
    for name, one in metrics.per_class.items():
        table.add_row(escape(name), str(one.images), str(one.objects), show(one.AP), show(one.AP50))
    console.print(table)
    console.print(
        f"AP75 {show(metrics.AP75)}   AP small {show(metrics.APs)}   medium {show(metrics.APm)}   "
        f"large {show(metrics.APl)}   AR100 {show(metrics.AR100)}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"{result.ms_per_image:.1f} ms per image ({predictor.engine.name}; letterbox, network, NMS)",
        highlight=False,
        soft_wrap=True,
    )


def show(value: float | None) -> str:
    """Write a metric with three digits, a dash where it is undefined."""
    return "-" if value is None else f"{value:.3f}"

"""``ghostyolo val``: score a detector on a labelled data set with COCO metrics."""

from __future__ import annotations

from pathlib import Path

import typer

from ghostyolo.cli.settings import option, parse_confidence
from ghostyolo.thresholds import MetricSelection, settle_limits


def val(
    weights: str = typer.Option(
        help="A built-in name (bccd, neu-det, digits), a published one (yolox-nano), a file, or hf://owner/repo/file."
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
    conf: str | None = option(MetricSelection, "confidence", "--conf"),
    iou: float | None = option(MetricSelection, "iou"),
    max_det: int | None = option(MetricSelection, "max_detections", "--max-det"),
    vote: bool | None = option(MetricSelection, "vote"),
    tta: bool | None = option(MetricSelection, "tta"),
    json: Path | None = typer.Option(None, "--json", help="Write the metrics to this file, values 0 to 1."),
    plots: Path | None = typer.Option(
        None, help="Write PR curves, the confusion matrix, example pictures and the worst ones to this folder."
    ),
) -> None:
    """Score a detector on a labelled data set with COCO metrics."""
    from rich.console import Console
    from rich.progress import Progress

    from ghostyolo.config import parse_assignments
    from ghostyolo.data.split import load_split
    from ghostyolo.evaluate import evaluate
    from ghostyolo.evaluate.report import Report, print_report
    from ghostyolo.files import make_output_folder, write_json
    from ghostyolo.runtime.predictor import load

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
    limits = {
        "confidence": parse_confidence(conf), "iou": iou, "max_detections": max_det, "vote": vote, "tta": tta,
    }  # fmt: skip
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
            MetricSelection.from_dict(settle_limits(limits, predictor.metadata.best_confidence), "val"),
            imgsz=imgsz,
            batch=batch,
            progress=lambda done, _: bar.update(task, completed=done),
        )
    report, title = Report.of(result), f"{predictor.metadata.model} on {data}, {split}"
    written = []
    if json is not None:
        write_json(json, report.to_json())
        written.append(json)
    print_report(console, report, title)
    time = f"{result.ms_per_image:.1f} ms per image ({predictor.engine.name}; letterbox, network, NMS)"
    console.print(time, highlight=False, soft_wrap=True)
    for path, reason in result.skipped:
        console.print(f"skipped {path}: {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if plots is not None:
        from ghostyolo.evaluate.plots import write_result_pictures
        from ghostyolo.evaluate.worst_pictures import PAGE as WORST

        report.write_worst(plots / WORST, title)
        written += [*write_result_pictures(result, plots), plots / WORST]
    if written:
        names = ", ".join(str(path) for path in written)
        console.print(f"written: {names}", markup=False, highlight=False, soft_wrap=True)

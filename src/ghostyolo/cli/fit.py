"""``ghostyolo fit``: the most capable detector that meets a latency budget on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ghostyolo.benchmark.candidates import DEFAULT_ENGINE
from ghostyolo.cli.benchmark import ENGINES, check_sources, comma_list
from ghostyolo.cli.tables import print_choices, progress_bar

if TYPE_CHECKING:
    from rich.console import Console

    from ghostyolo.benchmark.candidates import Candidate
    from ghostyolo.benchmark.fit import FitResult

_COLUMNS = ("model", "engine", "precision", "px", "in all ms", "p95", "memory MB", "MACs G", "AP", "fits")


def fit(
    target_ms: float = typer.Option(..., help="Milliseconds that a picture may take, from pixels to boxes."),
    memory_mb: float | None = typer.Option(None, help="Peak memory it may take, MB.", show_default=False),
    data: Path | None = typer.Option(
        None, help="Data set: its classes, and with --weights the AP that decides.", show_default=False
    ),
    split: str = typer.Option("val", help="The part of --data to score on."),
    models: str = typer.Option(
        "", help="Networks of the zoo, comma between; default: yolov13-ghostnetv3 at p to l.", show_default=False
    ),
    weights: list[str] = typer.Option(
        [], help="Trained weights instead of networks; may be repeated.", show_default=False
    ),
    sizes: str = typer.Option(
        "",
        help="Sides of pictures in pixels, comma between; default: 320,416,512,640, of weights their own.",
        show_default=False,
    ),
    engines: str = typer.Option(
        "",
        help=f"Engines, comma between: {ENGINES}; default: {DEFAULT_ENGINE}, of weights their own.",
        show_default=False,
    ),
    precisions: str = typer.Option("fp32", help="fp32, fp16, int8, comma between."),
    threads: int | None = typer.Option(
        None, help="CPU threads of one call; default: the cores that this process may use.", show_default=False
    ),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:N."),
    runs: int = typer.Option(20, help="Timed calls of each."),
    warmup: int = typer.Option(3, help="Untimed calls of each before them."),
    images: str | None = typer.Option(
        None, help="Pictures to run on (the first 8); default: built-in ones.", show_default=False
    ),
    json: Path | None = typer.Option(None, "--json", help="Write the decision and its table to this file."),
) -> None:
    """Name the most capable detector within a budget, measured on this machine."""
    from rich.console import Console

    from ghostyolo.benchmark.budget import Budget
    from ghostyolo.benchmark.build import Builder
    from ghostyolo.benchmark.candidates import CLASSES
    from ghostyolo.benchmark.compare import Labelled, Settings
    from ghostyolo.benchmark.fit import fit as find
    from ghostyolo.data.split import load_split
    from ghostyolo.errors import ConfigError
    from ghostyolo.files import make_output_folder, write_json

    if target_ms <= 0:
        raise ConfigError(f"--target-ms must be above 0, not {target_ms:g}")
    if memory_mb is not None and memory_mb <= 0:
        raise ConfigError(f"--memory-mb must be above 0, not {memory_mb:g}")
    settings = Settings(device, threads, runs=runs, warmup=warmup, images=images)
    candidates = _candidates(
        weights, comma_list(models), comma_list(sizes), comma_list(engines), comma_list(precisions)
    )
    check_sources(images)
    labelled, classes = None, CLASSES
    if data is not None:
        read = load_split(data, split).checked(split)
        labelled, classes = Labelled(read, split) if weights else None, len(read.class_names)
    if json is not None:
        make_output_folder(json.parent)

    console = Console()
    with tempfile.TemporaryDirectory(prefix="ghostyolo-fit-") as folder, progress_bar() as tell:
        result = find(
            candidates,
            settings,
            Budget(target_ms, memory_mb),
            Builder(Path(folder), classes=classes, data=data),
            classes=classes,
            labelled=labelled,
            data=str(data) if data is not None else "my-data",
            progress=tell,
        )
    _print(console, result)
    if json is not None:
        write_json(json, result.to_json())
        console.print(f"written: {json}", markup=False, highlight=False, soft_wrap=True)
    if result.chosen is None and result.nearest is not None:
        row = result.nearest
        memory = "" if row.memory_mb is None else f" and {row.memory_mb:.0f} MB"
        raise ConfigError(
            f"nothing measured meets the budget; nearest is {row.label} with {row.total_ms:.1f} ms{memory}: "
            "try smaller --sizes or --models, more --threads, another of --engines, or a larger budget"
        )


def _candidates(
    weights: list[str], models: list[str], sizes: list[str], engines: list[str], precisions: list[str]
) -> list[Candidate]:
    from ghostyolo.benchmark.candidates import network_candidates, weights_candidates
    from ghostyolo.benchmark.fit import DEFAULT_MODELS, DEFAULT_SIZES, own_size
    from ghostyolo.errors import ConfigError

    if models and weights:
        raise ConfigError("--models are untrained and --weights are trained, they cannot be compared: give one of them")
    sides = [_side(size) for size in sizes]
    found: list[Candidate] = []
    for name in weights:
        for side in sides or [own_size(name)]:
            found += weights_candidates(name, engines, side, precisions)  # type: ignore[arg-type]  # checked there
    if not weights:
        for name in models or DEFAULT_MODELS:
            for side in sides or DEFAULT_SIZES:
                found += network_candidates(name, engines, side, precisions)  # type: ignore[arg-type]
    return found


def _side(text: str) -> int:
    from ghostyolo.errors import ConfigError
    from ghostyolo.metadata import check_imgsz

    if not text.isdecimal():
        raise ConfigError(f"--sizes '{text}' is no side in pixels: write multiples of 32, such as 320,640")
    check_imgsz(int(text), 32, ", as networks need (--sizes)")
    return int(text)


def _print(console: Console, result: FitResult) -> None:
    from ghostyolo.benchmark.fit import row_cost
    from ghostyolo.benchmark.rows import table

    headings, cells = table(result.rows)
    fits = ["yes" if result.budget.holds(row_cost(row)) else "no" for row in result.rows]
    lines = [[*line, fit] for line, fit in zip(cells, fits, strict=True)]
    print_choices(console, [*headings, "fits"], lines, _COLUMNS)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    for one in result.skipped:
        candidate = one.candidate
        say(
            f"not measured: {candidate.model} at {candidate.imgsz} px, {candidate.precision}, {candidate.engine}: "
            f"{one.reason}"
        )
    row = result.chosen
    if row is not None:
        memory = "" if row.memory_mb is None else f", {row.memory_mb:.0f} MB"
        accuracy = "" if row.AP is None else f", AP {row.AP:.3f}"
        say(
            f"{row.model} at {row.imgsz} px in {row.precision} on {row.engine} with {row.threads} "
            f"thread{'s' * (row.threads > 1)}: {row.total_ms:.1f} ms{memory}{accuracy}; the most capable within "
            f"{result.budget.milliseconds:g} ms by {result.decided_by}"
        )
        say(f"next: {result.train}")
        say(f"then: {result.export}")

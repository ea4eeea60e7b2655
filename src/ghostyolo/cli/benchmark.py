"""``ghostyolo benchmark``: how fast detectors are on this machine, side by side."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from ghostyolo.cli.tables import print_measurements, progress_bar
from ghostyolo.runtime.engines import engine_kinds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ghostyolo.benchmark.candidates import Candidate
    from ghostyolo.benchmark.compare import Labelled
    from ghostyolo.metadata import Precision

ENGINES = ", ".join(kind.name for kind in engine_kinds())


def benchmark(
    weights: list[str] = typer.Option(
        [],
        help="A built-in name, a file or folder of weights, or hf://owner/repo/file; may be repeated.",
        show_default=False,
    ),
    model: list[str] = typer.Option(
        [], help="A network of the zoo, untrained, 80 classes; may be repeated.", show_default=False
    ),
    against: list[str] = typer.Option(
        [], help="Networks of another package: ultralytics:yolo26n,yolo11n.", show_default=False
    ),
    engine: str = typer.Option(
        "", help=f"Engines, comma between: {ENGINES}; default: the weights' own.", show_default=False
    ),
    precision: str = typer.Option("fp32", help="fp32, fp16, int8, comma between: of what is exported to be measured."),
    threads: int | None = typer.Option(
        None, help="CPU threads of one call; default: the cores that this process may use.", show_default=False
    ),
    engine_option: list[str] = typer.Option(
        [],
        help="KEY=VALUE, a setting of the engines by its own name; may be repeated.",
        show_default=False,
    ),
    layout: str | None = typer.Option(
        None, help="How another program's ONNX file answers (docs/export.md); default: found out.", show_default=False
    ),
    imgsz: int | None = typer.Option(
        None,
        help="Side of the square canvas in pixels; default: the weights' own, 640 for networks.",
        show_default=False,
    ),
    batch: int = typer.Option(1, help="Pictures in one call of the network."),
    runs: int = typer.Option(50, help="Timed calls of each."),
    warmup: int = typer.Option(5, help="Untimed calls of each before them."),
    images: str | None = typer.Option(
        None, help="Pictures to run on (the first 8); default: built-in ones.", show_default=False
    ),
    data: Path | None = typer.Option(
        None, help="Data set to score the weights on, and to calibrate int8.", show_default=False
    ),
    split: str = typer.Option("val", help="The part of --data to score on."),
    reference: str | None = typer.Option(
        None, help="Whose time is 1 in the ratios; default: the first.", show_default=False
    ),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:N."),
    json: Path | None = typer.Option(None, "--json", help="Write the rows to this file."),
    markdown: Path | None = typer.Option(None, help="Write the table to this file."),
    picture: Path | None = typer.Option(
        None, help="Draw AP against latency, without --data bars of latency (.png, .svg or .pdf)."
    ),
) -> None:
    """Measure detectors side by side on this machine: latency, memory, size, cost, energy, AP."""
    from rich.console import Console

    from ghostyolo.benchmark.build import Builder
    from ghostyolo.benchmark.candidates import network_candidates, weights_candidates
    from ghostyolo.benchmark.compare import Settings, find_reference, measure
    from ghostyolo.benchmark.ultralytics_peer import peer_candidates
    from ghostyolo.config import parse_assignments
    from ghostyolo.errors import ConfigError
    from ghostyolo.files import make_output_folder, write_json, write_text

    options = parse_assignments(engine_option, "--engine-option")
    settings = Settings(device, threads, batch, runs, warmup, images, options, layout)
    engines = comma_list(engine)
    precisions = cast("list[Precision]", comma_list(precision))  # checked where the format is known
    candidates: list[Candidate] = []
    for name in weights:
        candidates += weights_candidates(name, engines, imgsz, precisions)
    for name in model:
        candidates += network_candidates(name, engines, imgsz, precisions)
    for name in against:
        candidates += peer_candidates(name, engines, imgsz)
    if not candidates:
        raise ConfigError("nothing to measure: give --weights or --model (ghostyolo models lists them)")
    position = find_reference(candidates, reference)
    labelled = read_labelled(data, split, candidates) if data is not None else None
    check_sources(images)
    if picture is not None:
        from ghostyolo.benchmark.picture import check_picture

        check_picture(picture)
    for target in (json, markdown, picture):
        if target is not None:
            make_output_folder(target.parent)

    console = Console()
    with tempfile.TemporaryDirectory(prefix="ghostyolo-benchmark-") as folder, progress_bar() as tell:
        builder = Builder(Path(folder), batch, data=data)
        rows = measure(candidates, settings, builder=builder, labelled=labelled, reference=reference, progress=tell)
    from ghostyolo.benchmark import rows as text

    print_measurements(console, *text.table(rows))
    for line in text.notes(rows, rows[position]):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    written = []
    if json is not None:
        write_json(json, [row.to_json() for row in rows])
        written.append(json)
    if markdown is not None:
        write_text(markdown, text.markdown(rows, rows[position]))
        written.append(markdown)
    if picture is not None:
        from ghostyolo.benchmark.picture import draw

        draw(rows, picture)
        written.append(picture)
    if written:
        names = ", ".join(str(path) for path in written)
        console.print(f"written: {names}", markup=False, highlight=False, soft_wrap=True)


def comma_list(text: str) -> list[str]:
    """The words between commas, each once."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def read_labelled(data: Path, split: str, candidates: Sequence[Candidate]) -> Labelled:
    """The split to score weights on.

    Raises:
        ConfigError: there are no weights to score.
        DataError: no such data or split.
    """
    from ghostyolo.benchmark.compare import Labelled
    from ghostyolo.data.split import load_split
    from ghostyolo.errors import ConfigError

    if not any(candidate.has_weights for candidate in candidates):
        raise ConfigError("--data is for scoring weights, and networks without weights have no AP: add --weights")
    return Labelled(load_split(data, split).checked(split), split)


def check_sources(images: str | None) -> None:
    """Look up the pictures before any work.

    Raises:
        SourceError: nothing there.
    """
    if images is not None:
        from ghostyolo.runtime.sources import Sources

        Sources(images)

"""``ghostyolo benchmark``: how fast detectors are on this machine, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from ghostyolo.benchmark.candidates import Candidate
    from ghostyolo.benchmark.run import Labelled, Progress


def benchmark(
    weights: list[str] = typer.Option(
        [], help="A built-in name, a file or folder of weights, or hf://owner/repo/file; may be repeated.",
        show_default=False,
    ),
    model: list[str] = typer.Option(
        [], help="A network of the zoo, untrained, 80 classes; may be repeated.", show_default=False
    ),
    against: list[str] = typer.Option(
        [], help="Networks of another package: ultralytics:yolo26n,yolo11n.", show_default=False
    ),
    engine: str = typer.Option(
        "", help="Engines, comma between: onnxruntime, openvino, ...; default: the weights' own.", show_default=False
    ),
    threads: int | None = typer.Option(
        None, help="CPU threads of one call; default: the cores that this process may use.", show_default=False
    ),
    imgsz: int | None = typer.Option(
        None, help="Side of the square canvas in pixels; default: the weights' own, 640 for networks.",
        show_default=False,
    ),
    batch: int = typer.Option(1, help="Pictures in one call of the network."),
    runs: int = typer.Option(50, help="Timed calls of each."),
    warmup: int = typer.Option(5, help="Untimed calls of each before them."),
    images: str | None = typer.Option(
        None, help="Pictures to run on (the first 8); default: built-in ones.", show_default=False
    ),
    data: Path | None = typer.Option(None, help="Data set to score the weights on.", show_default=False),
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

    from ghostyolo.benchmark.candidates import network_candidates, weights_candidates
    from ghostyolo.benchmark.run import Settings, find_reference, measure
    from ghostyolo.benchmark.ultralytics_peer import peer_candidates
    from ghostyolo.errors import ConfigError
    from ghostyolo.files import make_output_folder, write_json, write_text

    settings = Settings(device, threads, batch, runs, warmup, images)
    engines = comma_list(engine)
    candidates: list[Candidate] = []
    for name in weights:
        candidates += weights_candidates(name, engines, imgsz)
    for name in model:
        candidates += network_candidates(name, engines, imgsz)
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
    with progress_bar() as tell:
        rows = measure(candidates, settings, labelled=labelled, reference=reference, progress=tell)
    from ghostyolo.benchmark import rows as text

    print_tables(console, *text.table(rows))
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
    from ghostyolo.benchmark.run import Labelled
    from ghostyolo.data.formats import load_dataset
    from ghostyolo.errors import ConfigError

    if not any(candidate.has_weights for candidate in candidates):
        raise ConfigError("--data is for scoring weights, and networks without weights have no AP: add --weights")
    return Labelled(load_dataset(data, splits=[split]), split)


def check_sources(images: str | None) -> None:
    """Look up the pictures before any work.

    Raises:
        SourceError: nothing there.
    """
    if images is not None:
        from ghostyolo.runtime.sources import Sources

        Sources(images)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on the terminal that says what is going on; nothing where there is no terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    terminal = Console(stderr=True)
    with Bar(console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("starting", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield tell


def print_tables(console: Console, headings: list[str], cells: list[list[str]]) -> None:
    """Print one table where the window is wide enough, else times and costs in one each.

    Engine, precision and size are left out where all rows agree; the lines below the table say them.
    """
    settled = [
        position
        for position, heading in enumerate(headings)
        if heading in ("engine", "precision", "px") and len({line[position] for line in cells}) == 1
    ]
    shown = [position for position in range(len(headings)) if position not in settled]
    whole = rich_table(*_columns(headings, cells, shown))
    if console.measure(whole).minimum <= console.width:
        console.print(whole)
        return
    first_cost = headings.index("memory MB")
    names = [position for position in shown if headings[position] in ("model", "engine", "precision", "px")]
    times = [position for position in shown if position < first_cost]
    costs = [*names, *(position for position in shown if position >= first_cost)]
    for part in (times, costs):
        console.print(rich_table(*_columns(headings, cells, part)))


def _columns(
    headings: list[str], cells: list[list[str]], positions: list[int]
) -> tuple[list[str], list[list[str]]]:
    return [headings[position] for position in positions], [[line[position] for position in positions] for line in cells]


def rich_table(headings: list[str], cells: list[list[str]]) -> Table:
    """A table for the terminal: names to the left, figures to the right; only the model's name may be folded."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        words = heading in ("model", "engine", "precision")
        table.add_column(
            heading, justify="left" if words else "right", no_wrap=heading != "model", overflow="fold", min_width=12 * (heading == "model") or None
        )
    for line in cells:
        table.add_row(*(escape(cell) for cell in line))
    return table

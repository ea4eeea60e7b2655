"""Tables and progress of measurements on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ghostyolo.benchmark.compare import Progress

Cells = list[list[str]]
_WORDS = ("model", "engine", "precision")
_CONDITIONS = ("engine", "precision", "px")
_FIRST_COST = "memory MB"


def print_measurements(console: Console, headings: list[str], cells: Cells) -> None:
    """Print one table, or two where the window is narrow.

    Those are times and costs.

    Engine, precision and size are left out where all rows agree; the lines below the table say them.
    """
    shown = [
        position
        for position, heading in enumerate(headings)
        if heading not in _CONDITIONS or len({line[position] for line in cells}) > 1
    ]
    whole = _table(headings, cells, shown)
    if console.measure(whole, options=console.options.update(width=1000)).maximum < console.width:
        print_table(console, whole)
        return
    first_cost = headings.index(_FIRST_COST)
    names = [position for position in shown if headings[position] in ("model", *_CONDITIONS)]
    times = [position for position in shown if position < first_cost]
    costs = [*names, *(position for position in shown if position >= first_cost)]
    for part in (times, costs):
        print_table(console, _table(headings, cells, part))


def print_choices(console: Console, headings: list[str], cells: Cells, columns: tuple[str, ...]) -> None:
    """Print the named columns."""
    print_table(
        console, _table(headings, cells, [place for place, heading in enumerate(headings) if heading in columns])
    )


def print_table(console: Console, table: Table) -> None:
    """Print a table whole, even where the window is narrower."""
    from rich.console import Console as Sheet

    needed = Sheet(width=1000).measure(table).maximum
    sheet = console if needed <= console.width else Sheet(file=console.file, width=needed)
    sheet.print(table)


def _table(headings: list[str], cells: Cells, positions: list[int]) -> Table:
    """Names to the left, figures to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for position in positions:
        justify = "left" if headings[position] in _WORDS else "right"
        table.add_column(headings[position], justify=justify, no_wrap=True)  # type: ignore[arg-type]  # a literal
    for line in cells:
        table.add_row(*(escape(line[position]) for position in positions))
    return table


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a bar on the terminal that says what is going on.

    Nothing is shown where there is no terminal.
    """
    from rich.console import Console
    from rich.progress import Progress as Bar

    terminal = Console(stderr=True)
    with Bar(console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("starting", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield tell

"""What every benchmark here needs: the machine in words, results as JSON, and the same rows as a Markdown table."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ghostyolo.benchmark.machine import describe_machine
from ghostyolo.files import write_json, write_text

RESULTS = Path(__file__).resolve().parent / "results"
REPOSITORY = RESULTS.parent.parent

Row = dict[str, Any]


def data_root() -> Path:
    """Where the data sets lie: ``$GHOSTYOLO_DATA``, else a folder ``shared/data`` beside the repository."""
    return Path(os.environ.get("GHOSTYOLO_DATA", REPOSITORY.parent / "shared" / "data"))


def read_rows(path: Path) -> list[Row]:
    """Rows of an earlier run, none where there was none."""
    if not path.is_file():
        return []
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def write_results(path: Path, rows: Sequence[Row], *packages: str, **conditions: Any) -> None:
    """Write rows with what they depend on."""
    write_json(path, {"machine": describe_machine(*packages), **conditions, "rows": list(rows)})


def replace_row(rows: Iterable[Row], row: Row, keys: Sequence[str]) -> list[Row]:
    """Rows with ``row`` in the place of the one of the same keys, else at the end."""
    kept = [other for other in rows if any(other.get(key) != row.get(key) for key in keys)]
    return [*kept, row]


def markdown(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """A table of the rows.

    Args:
        columns: key -> format, such as ``{"model": "", "AP": ".3f"}``; undefined values become a dash.
    """
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = ("-" if row.get(key) is None else format(row[key], form) for key, form in columns.items())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_between(page: Path, name: str, table: str) -> None:
    """Put a table between its marks in a page: ``<!-- NAME table, ... -->`` and ``<!-- end of the NAME table -->``.

    Raises:
        SystemExit: the page has no such marks, or has them twice.
    """
    marks = re.compile(rf"(<!-- {name} table.*?-->\n\n).*?(\n\n<!-- end of the {name} table -->)", re.DOTALL)
    text, count = marks.subn(lambda match: f"{match[1]}{table}{match[2]}", page.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{page} has no place for the {name} table")
    write_text(page, text)

"""One measured model as a row: for JSON, and as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ghostyolo.benchmark.machine import machine_line


@dataclass(frozen=True)
class Row:
    """What was measured of one model on one engine.

    Milliseconds are of a call of ``batch`` pictures.

    Attributes:
        model: name of the network, or of its weights.
        engine: library that ran it.
        precision: of the file.
        threads: CPU threads of one call.
        imgsz: longer side of the canvas in pixels.
        median_ms, p95_ms: the network alone.
        ratio: the network's time as a multiple of the reference's, paired in each round.
        preprocess_ms, postprocess_ms: letterbox and scaling; threshold, NMS and mapping boxes back.
        total_ms, total_p95_ms: the three together.
        images_per_second: pictures at ``total_ms``.
        memory_mb: peak memory above what the process held before it opened the model; None: not measurable.
        file_mb: size of the file or folder, 10^6 bytes.
        params_m, macs_g, flops_g: millions and billions, of the folded network and one picture; None: not known.
        energy_j: joules a picture; None where the machine does not tell.
        energy: what was counted, or why there is nothing to count.
        AP, AP50: on the data set's split, 0..1; None without data or weights.
        device, batch, runs: where, how many pictures a call, how many timed calls.
        weights: the file; None for a network without weights.
        machine: processor, cores, memory, versions.
    """

    model: str
    engine: str
    precision: str
    threads: int
    imgsz: int
    median_ms: float
    p95_ms: float
    ratio: float
    preprocess_ms: float
    postprocess_ms: float
    total_ms: float
    total_p95_ms: float
    images_per_second: float
    memory_mb: float | None
    file_mb: float
    params_m: float | None
    macs_g: float | None
    flops_g: float | None
    energy_j: float | None
    energy: str
    AP: float | None
    AP50: float | None
    device: str
    batch: int
    runs: int
    weights: str | None
    machine: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Keys as above, milliseconds to a thousandth."""
        row = asdict(self)
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}

    @property
    def label(self) -> str:
        """Model and what else tells rows apart: size, precision, engine."""
        return f"{self.model} {self.imgsz} {self.precision} {self.engine}"


# Heading, key, format. The ones of undefined values are a dash; AP has no column where no row has one.
COLUMNS = (
    ("model", "model", ""),
    ("engine", "engine", ""),
    ("precision", "precision", ""),
    ("px", "imgsz", "d"),
    ("network ms", "median_ms", ".2f"),
    ("p95", "p95_ms", ".2f"),
    ("ratio", "ratio", ".2f"),
    ("before ms", "preprocess_ms", ".2f"),
    ("after ms", "postprocess_ms", ".2f"),
    ("in all ms", "total_ms", ".2f"),
    ("images/s", "images_per_second", ".1f"),
    ("memory MB", "memory_mb", ".0f"),
    ("file MB", "file_mb", ".2f"),
    ("params M", "params_m", ".2f"),
    ("MACs G", "macs_g", ".2f"),
    ("FLOPs G", "flops_g", ".2f"),
    ("J/image", "energy_j", ".3f"),
    ("AP", "AP", ".3f"),
)
_ONLY_WHERE_KNOWN = ("energy_j", "AP")


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells as text.

    Columns that no row fills are left out where the text around says why.
    """
    shown = [
        column
        for column in COLUMNS
        if column[1] not in _ONLY_WHERE_KNOWN or any(getattr(row, column[1]) is not None for row in rows)
    ]
    cells = [[_cell(getattr(row, key), form) for _, key, form in shown] for row in rows]
    return [heading for heading, _, _ in shown], cells


def notes(rows: Sequence[Row], reference: Row) -> list[str]:
    """The conditions of the table, a line each."""
    first = rows[0]
    what = [sorted({getattr(row, key) for row in rows}) for key in ("engine", "precision", "imgsz")]
    engines, precisions, sizes = (", ".join(str(value) for value in values) for values in what)
    lines = [
        f"Machine: {machine_line(first.machine)}.",
        f"{engines}; {precisions}; {sizes} px; {first.device}, {first.threads} thread{'s' * (first.threads > 1)}, "
        f"batch {first.batch}. Medians of {first.runs} timed calls of each model, in turns. Ratio: the network's time "
        f"to that of {reference.model} on {reference.engine} in the same round.",
    ]
    energies = sorted({row.energy for row in rows})
    if all(row.energy_j is None for row in rows):
        lines.append(f"Energy: not measurable here ({'; '.join(energies)}).")
    else:
        lines.append(f"Energy: {'; '.join(energies)}.")
    return lines


def markdown(rows: Sequence[Row], reference: Row) -> str:
    """The table with its conditions below."""
    headings, cells = table(rows)
    lines = ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells]
    return "\n".join([*lines, "", *notes(rows, reference), ""])


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)

"""``ghostyolo models``: the detectors, their parts, and what they cost."""

from __future__ import annotations

from typing import Any

import typer

_KINDS = ("backbone", "neck", "head")
_WIDE = 125  # columns that the whole table takes


def models(
    names: list[str] = typer.Argument(
        None, help="Only these: names, name@2M, name@3G or YAML files.", show_default=False
    ),
    imgsz: int = typer.Option(640, help="Side of the square picture that MACs are counted at, pixels."),
    classes: int = typer.Option(80, help="Number of classes."),
    parts: bool = typer.Option(False, "--parts", help="List backbones, necks and heads with their parameters instead."),
    json: bool = typer.Option(False, "--json", help="Print JSON: a list of objects."),
) -> None:
    """List the detectors with parameters, MACs and FLOPs (= 2 x MACs)."""
    import sys
    from json import dumps

    rows = _part_rows() if parts else _model_rows(names or [], imgsz, classes)
    if json:
        sys.stdout.write(dumps(rows, indent=2) + "\n")
    elif parts:
        _print_parts(rows)
    else:
        _print_models(rows, imgsz, classes)


def _model_rows(names: list[str], imgsz: int, classes: int) -> list[dict[str, Any]]:
    from ghostyolo.extras import require
    from ghostyolo.models.costs import counted_row
    from ghostyolo.models.names import list_models

    wanted = names or list_models()
    rows = {name: counted_row(name, imgsz, classes) for name in wanted}
    missing = [name for name, row in rows.items() if row is None]
    if missing:
        require("train", "counting models at other sizes than 640 px and 80 classes, or outside the zoo,")
        from rich.console import Console
        from rich.progress import track

        from ghostyolo.models.costs import describe_model

        console = Console(stderr=True)
        shown = track(missing, "counting", console=console, transient=True, disable=not console.is_terminal)
        rows.update((name, describe_model(name, imgsz, classes)) for name in shown)
    return [row for name in wanted if (row := rows[name]) is not None]


def _part_rows() -> list[dict[str, Any]]:
    from ghostyolo.extras import require

    require("train", "listing the parts")
    from ghostyolo.models.registry import describe_part, list_parts

    return [describe_part(kind, name) for kind in _KINDS for name in list_parts(kind)]


def _print_models(rows: list[dict[str, Any]], imgsz: int, classes: int) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    # The names say most of it: in a narrow window the parts would be a letter wide.
    kinds = _KINDS if console.width >= _WIDE else ()
    table = Table(title=f"Detectors at {imgsz} x {imgsz} pixels, {classes} classes")
    for column in ("name", *kinds):
        table.add_column(column, no_wrap=True)
    for column in ("params M", "deployed M", "MACs G", "FLOPs G"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        figures = (row["params_m"], row["params_deployed_m"], row["macs_g"], row["flops_g"])
        table.add_row(row["name"], *(row[kind] for kind in kinds), *(f"{figure:.2f}" for figure in figures))
    console.print(table)


def _print_parts(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Parts of detectors")
    for column in ("kind", "name", "parameters, with their defaults", "at scale n"):
        table.add_column(column, no_wrap=column in ("kind", "name"))
    for row in rows:
        params = (f"{key}={value}" for key, value in row["params"].items())
        scale = (f"{key}={value}" for key, value in row["scales"].get("n", {}).items())
        table.add_row(row["kind"], row["name"], ", ".join(params), ", ".join(scale))
    Console().print(table)

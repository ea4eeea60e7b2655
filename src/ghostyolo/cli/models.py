"""``ghostyolo models``: the detectors of the zoo and what they cost."""

from __future__ import annotations

import typer


def models(
    imgsz: int = typer.Option(640, help="Side of the square picture that MACs are counted at, pixels."),
    classes: int = typer.Option(80, help="Number of classes."),
    json: bool = typer.Option(False, "--json", help="Print JSON: a list of objects."),
) -> None:
    """List the detectors: parameters in training and deployed, MACs and FLOPs (= 2 x MACs) of one picture."""
    from ghostyolo.extras import require

    require("train", "counting the models")
    import sys
    from json import dumps

    from ghostyolo.models.describe import describe_zoo

    rows = describe_zoo(imgsz, classes)
    if json:
        sys.stdout.write(dumps(rows, indent=2) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Detectors at {imgsz} x {imgsz} pixels, {classes} classes")
    for column in ("name", "backbone", "neck", "head"):
        table.add_column(column, no_wrap=column == "name")
    for column in ("params M", "deployed M", "MACs G", "FLOPs G"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        parts = (row["name"], row["backbone"], row["neck"], row["head"])
        figures = (row["params_m"], row["params_deployed_m"], row["macs_g"], row["flops_g"])
        table.add_row(*map(str, parts), *(f"{figure:.2f}" for figure in figures))
    Console().print(table)

"""Options of commands that are made from typed settings.

So help and defaults stand in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ghostyolo.config import Options, fields_of, parse_assignment
from ghostyolo.errors import ConfigError


def option(model: type[BaseModel], key: str, *flags: str, when: str = "") -> Any:
    """Make a command's option for a setting.

    It is None where it is not given; its default is named in the help.

    Args:
        flags: its names, where they are others than the key.
        when: the option that it goes with, said first.
    """
    field = model.model_fields[key]
    meaning = f"{when}: {field.description}" if when else f"{field.description}"
    default = show_default(field)
    help = f"{meaning[0].upper()}{meaning[1:]}."
    if default != "none":
        help += rf" \[default: {default}]"  # a bare bracket is markup
    return typer.Option(None, *flags, help=help, show_default=False)


def parse_confidence(text: str | None) -> float | str | None:
    """A number where the text is one, else the text, such as ``auto``."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


SET: Any = typer.Option(
    [],
    "--set",
    metavar="KEY=VALUE",
    help="Any other setting, such as lr=0.001 or augment.fliplr=0; may be repeated. --settings lists them.",
    show_default=False,
)
"""The option that takes every setting by its name."""


def list_option(model: type[BaseModel]) -> Any:
    """The option that lists all settings of a command and ends it."""
    return typer.Option(
        False,
        "--settings",
        callback=_lister(model),
        is_eager=True,
        help="List every setting with its default and meaning, and exit.",
    )


def given_settings(flags: Mapping[str, Any], assignments: Sequence[str]) -> Options:
    """The settings that options and ``--set`` name.

    Raises:
        ConfigError: a text that is no KEY=VALUE, or a key that is given twice.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    for text in assignments:
        key, value = parse_assignment(text, "--set")
        if key in given:
            raise ConfigError(f"--set {text}: '{key}' is given twice")
        given[key] = value
    return given


def settings_rows(model: type[BaseModel]) -> list[tuple[str, str, str]]:
    """Name, default and meaning of every setting, for the terminal and for documents."""
    return [(key, show_default(field), f"{field.description}") for key, field in fields_of(model).items()]


def show_default(field: FieldInfo) -> str:
    """A setting's default as it is written in YAML; an empty text as ''."""
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "''"


def _lister(model: type[BaseModel]) -> Callable[[bool], None]:
    def show(wanted: bool) -> None:
        if not wanted:
            return
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("setting", no_wrap=True)
        table.add_column("default", no_wrap=True)
        table.add_column("meaning")
        for row in settings_rows(model):
            table.add_row(*map(escape, row))
        Console().print(table, highlight=False)
        raise typer.Exit()

    return show

"""Every command of the command line has tests of its own, that run it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import typer.main

from ghostyolo.cli import main

HERE = Path(__file__).parent


def leaves(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command that does something, such as ("data", "check")."""
    if hasattr(command, "commands"):  # Typer's groups are no click.Group in every version
        for name, inner in command.commands.items():
            yield from leaves(inner, (*words, name))
    else:
        yield words


def test_every_command_is_run_by_a_test_file_of_its_name():
    main._register()
    commands = list(leaves(typer.main.get_command(main.app)))
    assert len(commands) > 10
    for words in commands:
        path = HERE / f"test_{words[0].replace('-', '_')}.py"
        assert path.is_file(), f"`ghostyolo {' '.join(words)}` has no {path.name}"
        assert all(f'"{word}"' in path.read_text(encoding="utf-8") for word in words[1:]), f"{path.name}: {words}"

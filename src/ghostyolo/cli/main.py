"""The ``ghostyolo`` command: one file a command, errors as one line."""

from __future__ import annotations

import importlib
import io
import keyword
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import typer

from ghostyolo.errors import GhostYoloError

app = typer.Typer(
    name="ghostyolo",
    help="Compact object detectors: train, evaluate, run and export them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


COMMANDS = {
    "demo": "Detect handwritten digits on the pictures that come with this package.",
    "predict": "Detect objects on pictures and videos.",
    "watch": "Detect objects live: cameras, streams, files, folders that fill up.",
    "pseudo-label": "Label pictures with a detector and write a data set that trains at once.",
    "train": "Train a detector on a labelled data set.",
    "pretrain": "Train a backbone as a classifier.",
    "ablate": "Train a base and its variants with several seeds, and say which difference is more than chance.",
    "val": "Score a detector on a labelled data set: COCO metrics, in all and by class.",
    "import": "Turn a published checkpoint (YOLOv5, v7-tiny, v8, v13, YOLOX, GhostNet) into one of ours.",
    "export": "Fold a detector, write it for another engine, and compare the two.",
    "benchmark": "Measure models side by side on this machine.",
    "fit": "Name the most capable detector that meets a latency budget on this machine.",
    "models": "List the detectors and what they cost.",
    "data": "Check data sets, fit anchors to them, or make one of digit scenes.",
}


def _register(words: Sequence[str] | None = None) -> None:
    """Register all commands; of those that are not among the words of the call only the name, which takes no time."""
    for name, summary in COMMANDS.items():
        if words is not None and name not in words:
            app.command(name, short_help=summary)(_not_called)
            continue
        word = name.replace("-", "_") + "_" * keyword.iskeyword(name)
        module = importlib.import_module(f"ghostyolo.cli.{word}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, short_help=summary)
        else:
            app.command(name, short_help=summary)(getattr(module, word))


def _not_called() -> None:
    """Stand in the list of commands."""


def _version(show: bool) -> None:
    if show:
        from ghostyolo._version import __version__

        typer.echo(f"ghostyolo {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show a traceback when something fails."),
    import_file: list[Path] = typer.Option(
        [], "--import", help="Run a Python file that registers parts of your own; may be repeated.", show_default=False
    ),
) -> None:
    if debug:
        os.environ["GHOSTYOLO_DEBUG"] = "1"
    for path in import_file:
        from ghostyolo.models import registry

        registry.import_file(path)


def main() -> None:
    """Run the command line.

    Exit status: 0 done, 2 the user can mend it, 3 an export differs from its network, 130 interrupted; a command may
    have others of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_print(stream)
    _register(sys.argv[1:])
    try:
        app()
    except GhostYoloError as error:
        if os.environ.get("GHOSTYOLO_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _never_fail_to_print(stream: TextIO | None) -> None:
    # A terminal in cp1252 cannot show every name, and no encoding shows the bytes of a name that is not UTF-8.
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace" if stream.encoding.lower().startswith("utf") else "replace")


if __name__ == "__main__":
    main()

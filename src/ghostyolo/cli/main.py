"""The ``ghostyolo`` command: registers one file a command and turns our errors into one line and their exit status."""

from __future__ import annotations

import io
import os
import sys
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


def _register() -> None:
    from ghostyolo.cli import (
        ablate,
        benchmark,
        data,
        demo,
        export,
        fit,
        models,
        predict,
        pretrain,
        pseudo_label,
        train,
        val,
    )

    app.command("demo")(demo.demo)
    app.command("predict")(predict.predict)
    app.command("pseudo-label")(pseudo_label.pseudo_label)
    app.command("train")(train.train)
    app.command("pretrain")(pretrain.pretrain)
    app.command("ablate")(ablate.ablate)
    app.command("val")(val.val)
    app.command("export")(export.export)
    app.command("benchmark")(benchmark.benchmark)
    app.command("fit")(fit.fit)
    app.command("models")(models.models)
    app.add_typer(data.app, name="data")


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
    """Run the command line. Exit status: 0 done, 2 the user can mend it, 3 an export differs from its network,
    130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_print(stream)
    _register()
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

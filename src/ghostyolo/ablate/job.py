"""One run in a process of its own, by the ordinary command. No torch.

So anyone can type what a cell was trained by.

A crash takes its own process down, memory starts clean, and an interrupted run goes on by the command's own resume.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import ghostyolo
from ghostyolo.ablate.tasks import CELL_FILE
from ghostyolo.errors import OutputError
from ghostyolo.files import make_output_folder, write_json, write_text
from ghostyolo.models.registry import imported_files
from ghostyolo.train.run_folder import CONFIG

RECIPE, LOG = "recipe.yaml", "log.txt"
_PATIENCE = 20.0  # seconds that an interrupted run has to leave its files whole


@dataclass(frozen=True)
class Job:
    """All that another process needs to train a run.

    It may be on another machine with the same folders.

    Attributes:
        record: written to cell.json before the start.
        recipe: keys and values of its recipe.
        arguments: of the command, without what depends on how far the run has come.
    """

    name: str
    folder: Path
    record: dict[str, Any]
    recipe: dict[str, Any]
    arguments: tuple[str, ...]
    imports: tuple[str, ...]


def make_job(
    name: str, folder: Path, record: dict[str, Any], command: str, data: str, model: str, recipe: dict[str, Any]
) -> Job:
    """The command of a run."""
    place = ("--recipe", str(folder / RECIPE), "--out", str(folder))
    arguments = (command, "--data", data, "--model", model, *place)
    return Job(name, folder, record, recipe, arguments, tuple(str(path) for path in imported_files()))


def train(job: Job) -> str | None:
    """Train a run, or go on with it; its output is in ``log.txt``.

    Returns:
        None when it is done, else its last words.

    Raises:
        KeyboardInterrupt, SystemExit: this process was stopped; the run has been stopped first.
        OutputError: the folder cannot be written.
    """
    make_output_folder(job.folder)
    write_json(job.folder / CELL_FILE, job.record)
    values = {key: value for key, value in job.recipe.items() if value is not None}
    write_text(job.folder / RECIPE, yaml.safe_dump(values, sort_keys=False))
    begun = (job.folder / CONFIG).is_file()
    words = [*(f"--import={path}" for path in job.imports), *job.arguments, *(["--resume"] if begun else [])]
    package = str(Path(ghostyolo.__file__).resolve().parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    log = job.folder / LOG
    try:
        with log.open("a", encoding="utf-8") as output:
            output.write(f"$ ghostyolo {shlex.join(words)}\n")
            output.flush()
            process = subprocess.Popen(
                [sys.executable, "-m", "ghostyolo.cli.main", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            try:
                status = process.wait()
            except BaseException:
                _stop(process)
                raise
    except OSError as error:
        raise OutputError(f"cannot write {log}: {error.strerror or error}") from error
    if status == 0:
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"status {status}: {lines[-1][:300].removeprefix('error: ')}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()

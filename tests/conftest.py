"""Shared fixtures: real data sets (skipped with a reason where absent) and the command line."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

# The tests' networks are tiny: pools of threads get into each other's way, more so in several processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

try:
    from hypothesis import settings
except ImportError:  # the base install's tests need none
    pass
else:
    # The same few examples each time, so that a red run is red again; HYPOTHESIS_PROFILE=default looks for more.
    settings.register_profile("suite", derandomize=True, deadline=None, max_examples=50)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

MOST_PROCESSES = 4  # each holds torch and its engines, 1 to 2 GB

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Several processes for the whole suite, none of its own for named files: they would wait for torch twice."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return min(os.cpu_count() or 1, MOST_PROCESSES) if whole else 0


def _real_data(name: str) -> Path:
    root = Path(os.environ.get("GHOSTYOLO_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / name).is_dir():
        pytest.skip(f"data set {name} not found in {root}: set GHOSTYOLO_DATA to the folder that holds it")
    return root / name


@pytest.fixture(scope="session")
def bccd() -> Path:
    """BCCD in Pascal VOC layout: 205 train, 87 val pictures of blood cells."""
    return _real_data("bccd")


@pytest.fixture(scope="session")
def neu_det() -> Path:
    """NEU-DET in YOLO layout with COCO JSON beside it: 1440 train, 180 val pictures of steel."""
    return _real_data("neu-det")


@pytest.fixture(scope="session")
def run_cli():
    """Run ``ghostyolo ARGS`` in a process of its own, as a user does; returns the completed process."""

    def run(*args: object, timeout: float = 300, **kwargs) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ghostyolo.cli.main", *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout,
            **kwargs,
        )

    return run


@pytest.fixture
def type_cli(monkeypatch):
    """Run ``ghostyolo ARGS`` through its ``main`` in this process; returns what ``run_cli`` returns.

    It does not wait for torch again. What the logging of Python and native libraries print is not in the result.
    """

    def run(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        from ghostyolo.cli import main as command

        words, status = ["ghostyolo", *map(str, args)], 0
        with (
            monkeypatch.context() as patch,
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            patch.setattr(sys, "argv", words)
            patch.setattr(sys, "excepthook", sys.excepthook)  # Typer puts its own there
            for registered in ("registered_commands", "registered_groups"):
                patch.setattr(command.app, registered, [])
            if cwd is not None:
                patch.chdir(cwd)
            try:
                command.main()
            except SystemExit as stop:
                status = stop.code or 0
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    return run

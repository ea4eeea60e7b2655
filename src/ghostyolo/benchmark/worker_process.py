"""A model in a process of its own, as the parent sees it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ghostyolo
from ghostyolo import errors
from ghostyolo.benchmark.worker import Task
from ghostyolo.errors import GhostYoloError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.runtime.timing import Call


class BenchmarkError(GhostYoloError):
    """A model whose process ended before it was measured."""


class Process:
    """Starts a worker and opens a model in it.

    Close it, or use it in a ``with`` statement. A library that crashes takes its own process down, thread pools do not
    meet, and peak memory is one model's.

    Attributes:
        metadata: what the weights say about themselves.
        engine: the library that runs them.
        imgsz: side of the square canvas in pixels.
        energy_source: what the energy counter counts, or why there is none.

    Raises:
        GhostYoloError: the model cannot be opened, see :class:`ghostyolo.benchmark.worker.Worker`.
        BenchmarkError: its process ended.
    """

    def __init__(self, task: Task) -> None:
        self._name = Path(task.path).name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        package = str(Path(ghostyolo.__file__).resolve().parent.parent)
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            # Libraries built on OpenMP read their number of threads here, once.
            "OMP_NUM_THREADS": str(task.threads),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ghostyolo.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        try:
            opened = self._ask({"open": asdict(task)})
        except BaseException:
            self.close()
            raise
        self.metadata = ModelMetadata.model_validate(opened["metadata"])
        self.engine: str = opened["engine"]
        self.imgsz: int = opened["imgsz"]
        self.energy_source: str = opened["energy_source"]

    def calls(self, count: int) -> tuple[list[Call], float | None]:
        """Run so many calls; return the times of each.

        The joules of all come with them where they can be counted.
        """
        answer = self._ask({"calls": count})
        return [Call(**call) for call in answer["calls"]], answer["joules"]

    def peak_memory_mb(self) -> float | None:
        """Return the most memory so far that the model took.

        It is counted from what the process held before the model was opened.
        """
        megabytes: float | None = self._ask({"memory": True})["megabytes"]
        return megabytes

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it is gone already
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise BenchmarkError(f"{self._name} cannot be measured: its process ended ({self._last_words()})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind = getattr(errors, answer["kind"], BenchmarkError)
            raise kind(answer["error"])
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"status {status}: {lines[-1][:200]}" if lines else f"status {status}"

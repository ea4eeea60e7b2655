"""The process that runs one model, and nothing else: ``python -m ghostyolo.benchmark.worker``.

Requests come as lines of JSON on standard input, each is answered by a line on standard output: ``open`` (a
:class:`Task`), ``calls`` (count, timed or not) and ``memory``. What libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ghostyolo.benchmark.counters import Counter, PeakMemory, energy_counter
from ghostyolo.errors import ConfigError, GhostYoloError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.runtime.engines import open_engine
from ghostyolo.runtime.predictor import Predictor
from ghostyolo.runtime.timing import Picture, batches, read_pictures, time_call


@dataclass(frozen=True)
class Task:
    """What a worker measures.

    Attributes:
        path: the weights.
        device, threads: where it runs.
        imgsz: side of the square canvas; None: the weights' own, and any canvas of a file that takes only one.
        batch: pictures in a call.
        images: pictures to run on; None: built-in ones.
        engine_options: settings of the engine by its own names.
        layout: how another program's ONNX file answers; None: find out.
        imports: Python files that register parts of the user's own.
    """

    path: str
    device: str = "cpu"
    threads: int = 1
    imgsz: int | None = None
    batch: int = 1
    images: str | None = None
    engine_options: dict[str, Any] = field(default_factory=dict)
    layout: str | None = None
    imports: tuple[str, ...] = ()


class Worker:
    """One model, open, with its pictures and counters."""

    def __init__(self, task: Task) -> None:
        import supervision  # noqa: F401  the first call would import it, in its time and memory

        if task.imports:
            from ghostyolo.models.registry import import_file

            for path in task.imports:
                import_file(Path(path))
        pictures = read_pictures(task.images)
        self._joules, self.energy_source = energy_counter(task.device)
        self._memory = PeakMemory()
        engine = open_engine(task.path, task.device, task.threads, task.engine_options, task.layout)
        self._predictor = Predictor(engine)
        check_canvas(engine.metadata, task.imgsz, task.batch, Path(task.path).name)
        self._imgsz = task.imgsz or max(self._predictor.canvas or [engine.metadata.imgsz])
        if engine.metadata.in_channels > 3:
            pictures = read_pictures(task.images, engine.metadata.in_channels)
        self._stream: Iterator[list[Picture]] = batches(pictures, task.batch)

    def describe(self) -> dict[str, Any]:
        """What was opened."""
        return {
            "engine": self._predictor.engine.name,
            "metadata": self._predictor.metadata.model_dump(mode="json"),
            "imgsz": self._imgsz,
            "energy_source": self.energy_source,
            "energy": self._joules is not None,
        }

    def calls(self, count: int) -> dict[str, Any]:
        """Time calls; also the joules of all of them together."""
        before = _read(self._joules)
        timed = [asdict(time_call(self._predictor, next(self._stream), self._imgsz)) for _ in range(count)]
        after = _read(self._joules)
        return {"calls": timed, "joules": None if before is None or after is None else after - before}

    def memory(self) -> dict[str, Any]:
        """Peak memory since before the model was opened, MB."""
        return {"megabytes": self._memory.megabytes()}


def check_canvas(metadata: ModelMetadata, imgsz: int | None, batch: int, name: str) -> None:
    """Refuse a size or a batch that a file does not take.

    It would run another, and the figures would be of that.

    Raises:
        ConfigError: with the size or batch that it takes.
    """
    export = metadata.export
    if export is None:
        return
    if imgsz is not None and export.canvas is not None and max(export.canvas) != imgsz:
        height, width = export.canvas
        raise ConfigError(
            f"{name} takes pictures of {width} x {height} pixels only: use --imgsz {max(height, width)}, or export it "
            f"with --imgsz {imgsz}"
        )
    if export.batch is not None and export.batch != batch:
        raise ConfigError(f"{name} takes {export.batch} pictures in a call, not {batch}: use --batch {export.batch}")


def _read(counter: Counter | None) -> float | None:
    return None if counter is None else counter()


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker: Worker | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "open" in request:
                worker = Worker(Task(**request["open"]))
                answer = worker.describe()
            elif worker is None:
                raise ConfigError("nothing is open")
            elif "calls" in request:
                answer = worker.calls(request["calls"])
            else:
                answer = worker.memory()
        except GhostYoloError as error:
            answer = {"error": str(error), "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

"""Measures candidates side by side.

It builds them, opens each in a process, takes turns, scores, and puts all into rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostyolo.benchmark.build import Builder
from ghostyolo.benchmark.candidates import Candidate
from ghostyolo.benchmark.interleave import Measured, interleave, paired_ratio
from ghostyolo.benchmark.machine import describe_machine, engine_packages, usable_cores, version
from ghostyolo.benchmark.rows import Row
from ghostyolo.benchmark.ultralytics_peer import PEER, peer_costs
from ghostyolo.benchmark.worker import Task
from ghostyolo.benchmark.worker_process import Process
from ghostyolo.data.records import DetectionData
from ghostyolo.errors import ConfigError, suggest
from ghostyolo.evaluate.coco import Metrics
from ghostyolo.evaluate.evaluation import evaluate, match_class_names
from ghostyolo.files import size_in_megabytes
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.costs import count_costs
from ghostyolo.models.registry import imported_files
from ghostyolo.runtime.engines import open_engine
from ghostyolo.runtime.predictor import Predictor
from ghostyolo.runtime.timing import Picture, check_counts, summarise

if TYPE_CHECKING:
    import supervision

Progress = Callable[[str, int, int], None]  # what is done, how many of how many


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: CPU threads of one call; None: as many as there are cores for this process.
        batch: pictures in a call.
        runs, warmup: timed calls of each model, and untimed ones before them.
        images: pictures to run on; None: built-in ones.
        engine_options: settings of the engine by its own names.
        layout: how another program's ONNX file answers; None: find out.
    """

    device: str = "cpu"
    threads: int | None = None
    batch: int = 1
    runs: int = 50
    warmup: int = 5
    images: str | None = None
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    layout: str | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1, not {self.threads}")
        check_counts(self.batch, self.runs, self.warmup)

    @property
    def used_threads(self) -> int:
        """The number of threads that engines are given."""
        return self.threads or usable_cores()


@dataclass(frozen=True)
class Labelled:
    """A split of a data set to score weights on."""

    data: DetectionData
    split: str


def measure(
    candidates: Sequence[Candidate],
    settings: Settings,
    *,
    builder: Builder | None = None,
    labelled: Labelled | None = None,
    reference: str | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Measure candidates in turns, in the order given.

    Args:
        candidates: at least one.
        settings: how.
        builder: makes the files that are missing; None: in a temporary folder.
        labelled: to score weights on.
        reference: model whose time is 1; None: the first.
        progress: told what is going on.

    Raises:
        ConfigError: an unknown reference, a size a network or file cannot take, or data with other classes.
        GhostYoloError: a network that cannot be built, exported, opened or run.
    """
    if not candidates:
        raise ConfigError("nothing to measure: give --weights or --model")
    position = find_reference(candidates, reference)
    tell = progress or _silent
    with ExitStack() as stack:
        if builder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ghostyolo-benchmark-"))
            builder = Builder(Path(folder), settings.batch)
        paths = []
        for number, candidate in enumerate(candidates):
            tell(f"preparing {candidate.model} for {candidate.engine}", number, len(candidates))
            paths.append(builder.path(candidate))
        opened = _run(candidates, paths, settings, labelled, tell)
        machine = describe_machine(*_packages(candidates, opened))
        rows = []
        for number, (candidate, path, one) in enumerate(zip(candidates, paths, opened, strict=True)):
            tell(f"counting and scoring {candidate.model}", number, len(candidates))
            metrics = None
            if labelled is not None and candidate.has_weights:
                metrics = score(path, settings, labelled, one.imgsz)
            costs = peer_costs(path) if candidate.kind == "ultralytics" else count_costs(one.metadata, one.imgsz)
            ratio = _ratio(one.measured, opened[position].measured)
            rows.append(_row(candidate, path, one, settings, costs, metrics, ratio, machine))
    return rows


@dataclass(frozen=True)
class _Opened:
    """What is left of a process."""

    engine: str
    metadata: ModelMetadata
    imgsz: int
    energy_source: str
    memory_mb: float | None
    measured: Measured


def _run(
    candidates: Sequence[Candidate],
    paths: Sequence[Path],
    settings: Settings,
    labelled: Labelled | None,
    tell: Progress,
) -> list[_Opened]:
    with ExitStack() as stack:
        processes = []
        for number, (candidate, path) in enumerate(zip(candidates, paths, strict=True)):
            tell(f"opening {candidate.model} on {candidate.engine}", number, len(candidates))
            process = stack.enter_context(Process(_task(candidate, path, settings)))
            if labelled is not None and candidate.has_weights:
                match_class_names(process.metadata.class_names, labelled.data.class_names)
            processes.append(process)
        total = settings.runs * len(candidates)
        found = interleave(processes, settings.runs, settings.warmup, lambda done: tell("measuring", done, total))
        return [
            _Opened(
                process.engine,
                process.metadata,
                process.imgsz,
                process.energy_source,
                process.peak_memory_mb(),
                measured,
            )
            for process, measured in zip(processes, found, strict=True)
        ]


def _row(
    candidate: Candidate,
    path: Path,
    one: _Opened,
    settings: Settings,
    costs: dict[str, float],
    metrics: Metrics | None,
    ratio: float,
    machine: dict[str, Any],
) -> Row:
    timing = summarise(one.measured.calls, settings.batch)
    return Row(
        model=candidate.model,
        engine=one.engine,
        precision=one.metadata.export.precision if one.metadata.export else "fp32",
        threads=settings.used_threads,
        imgsz=one.imgsz,
        median_ms=timing.median_ms,
        p95_ms=timing.p95_ms,
        ratio=ratio,
        preprocess_ms=timing.preprocess_ms,
        postprocess_ms=timing.postprocess_ms,
        total_ms=timing.total_ms,
        total_p95_ms=timing.total_p95_ms,
        images_per_second=timing.images_per_second,
        memory_mb=one.memory_mb,
        file_mb=size_in_megabytes(path),
        params_m=costs.get("params_m"),
        macs_g=costs.get("macs_g"),
        flops_g=costs.get("flops_g"),
        energy_j=_energy(one.measured, settings.batch),
        energy=one.energy_source,
        AP=metrics.AP if metrics is not None else None,
        AP50=metrics.AP50 if metrics is not None else None,
        device=settings.device,
        batch=settings.batch,
        runs=settings.runs,
        weights=candidate.place if candidate.has_weights else None,
        machine=machine,
    )


def find_reference(candidates: Sequence[Candidate], name: str | None) -> int:
    """Position of the first candidate of this name, the first of all without one.

    Raises:
        ConfigError: no candidate has the name.
    """
    if name is None:
        return 0
    names = [candidate.model for candidate in candidates]
    for position, candidate in enumerate(candidates):
        if name in (candidate.model, candidate.place):
            return position
    raise ConfigError(f"no model '{name}' is measured, so it cannot be the --reference: {suggest(name, names)}")


def _task(candidate: Candidate, path: Path, settings: Settings) -> Task:
    return Task(
        path=str(path),
        device=settings.device,
        threads=settings.used_threads,
        imgsz=candidate.imgsz,
        batch=settings.batch,
        images=settings.images,
        engine_options=dict(settings.engine_options),
        layout=settings.layout,
        imports=tuple(str(file) for file in imported_files()),
    )


def _ratio(mine: Measured, reference: Measured) -> float:
    bursts, theirs = (
        [[call.inference for call in burst] for burst in measured.bursts] for measured in (mine, reference)
    )
    return paired_ratio(bursts, theirs)


def _energy(measured: Measured, batch: int) -> float | None:
    return None if measured.joules is None else measured.joules / (len(measured.calls) * batch)


class _Square(Predictor):
    """Fits pictures to the square canvas that is timed, whatever their shape: AP is of what was measured."""

    def detect(self, images: list[Picture], *, rect: bool = False, **options: Any) -> list[supervision.Detections]:
        return super().detect(images, rect=False, **options)


def score(path: Path, settings: Settings, labelled: Labelled, imgsz: int) -> Metrics:
    """COCO metrics of weights at the size and on the canvas that is timed.

    Raises:
        ConfigError: the data has other classes.
        DataError: nothing to score on.
    """
    engine = open_engine(path, settings.device, settings.used_threads, settings.engine_options, settings.layout)
    records = labelled.data.splits[labelled.split]
    batch = engine.metadata.export.batch if engine.metadata.export else None
    predictor = _Square(engine)
    return evaluate(predictor, records, labelled.data.class_names, imgsz=imgsz, batch=batch or 16).metrics


def _packages(candidates: Sequence[Candidate], opened: Sequence[_Opened]) -> list[str]:
    packages = engine_packages({one.engine for one in opened})
    if any(candidate.kind == "ultralytics" for candidate in candidates):
        packages += [name for name in (PEER, f"{PEER}-opencv-headless") if version(name)]
    return packages


def _silent(what: str, done: int, total: int) -> None:
    pass

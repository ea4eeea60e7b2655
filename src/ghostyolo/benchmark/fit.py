"""Finds the most capable detector that meets a budget on this machine.

It measures as few as that takes.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ghostyolo.benchmark.budget import Budget, Cost, Option, best_fit, nearest_miss, search
from ghostyolo.benchmark.build import DEFAULT_IMGSZ, Builder
from ghostyolo.benchmark.candidates import CHECKPOINT_ENGINE, CHECKPOINT_SUFFIX, CLASSES, Candidate
from ghostyolo.benchmark.compare import Labelled, Progress, Settings, measure, score
from ghostyolo.benchmark.rows import Row
from ghostyolo.errors import ConfigError
from ghostyolo.evaluate.evaluation import match_class_names
from ghostyolo.extras import install_command
from ghostyolo.metadata import ExportInfo, ModelMetadata
from ghostyolo.models.costs import count_costs, counted_row
from ghostyolo.runtime.engines import open_engine
from ghostyolo.runtime.weights import builtin_names

# One family at its scales: within a family more work is known to be more accurate, between families it is not.
DEFAULT_MODELS = tuple(f"yolov13{scale}-ghostnetv3" for scale in "pnsml")
DEFAULT_SIZES = (320, 416, 512, 640)
RUN = "runs/fit"


@dataclass(frozen=True)
class Skipped:
    """What was not measured, and why."""

    candidate: Candidate
    reason: str


@dataclass(frozen=True)
class FitResult:
    """What was decided, and from what.

    Attributes:
        budget: what a detector may take.
        rows: what was measured, by rising time; ``ratio`` is to the one named, from the medians.
        skipped: what was not.
        chosen: the row that is named; None where nothing fits.
        nearest: the row that exceeds the budget least, where nothing fits.
        decided_by: ``"AP"`` or ``"MACs"``.
        train, export: commands to run next; empty where nothing fits.
    """

    budget: Budget
    rows: list[Row]
    skipped: list[Skipped]
    chosen: Row | None
    nearest: Row | None
    decided_by: str
    train: str
    export: str

    def to_json(self) -> dict[str, Any]:
        """All of it, rows as in ``ghostyolo benchmark --json``."""
        return {
            "target_ms": self.budget.milliseconds,
            "memory_mb": self.budget.memory_mb,
            "decided_by": self.decided_by,
            "chosen": self.chosen.to_json() if self.chosen else None,
            "nearest": self.nearest.to_json() if self.nearest else None,
            "train": self.train,
            "export": self.export,
            "rows": [row.to_json() for row in self.rows],
            "skipped": [
                {
                    "model": one.candidate.model,
                    "engine": one.candidate.engine,
                    "precision": one.candidate.precision,
                    "imgsz": one.candidate.imgsz,
                    "reason": one.reason,
                }
                for one in self.skipped
            ],
        }


def fit(
    candidates: Sequence[Candidate],
    settings: Settings,
    budget: Budget,
    builder: Builder,
    *,
    classes: int,
    labelled: Labelled | None = None,
    data: str = "my-data",
    progress: Progress | None = None,
) -> FitResult:
    """Measure what could fit, and name the most capable that does.

    Capability is AP where there are weights and labelled pictures, else the network's MACs at its picture size, which
    is only a stand-in: it ranks a family's scales and sizes, not families.

    Args:
        candidates: networks or weights, each with a size.
        settings: how to measure.
        budget: milliseconds from picture to boxes, and peak memory.
        builder: makes the files that are missing.
        classes: of untrained networks.
        labelled: to score weights on; their classes must be the weights'.
        data: the data set as the commands name it.
        progress: told what is going on.

    Raises:
        ConfigError: no candidate, an impossible budget, data with other classes, or a cost that cannot be counted.
        GhostYoloError: see :func:`ghostyolo.benchmark.compare.measure`.
    """
    if budget.milliseconds <= 0 or (budget.memory_mb is not None and budget.memory_mb <= 0):
        raise ConfigError("a budget is above 0: --target-ms in milliseconds, --memory-mb in megabytes")
    facts = _Facts(classes, labelled)
    usable, skipped = [], []
    for candidate in candidates:
        reason = facts.unusable(candidate)
        if reason:
            skipped.append(Skipped(candidate, reason))
        else:
            usable.append(candidate)
    if not usable:
        raise ConfigError(f"no candidate can be measured: {skipped[0].reason}" if skipped else "there is no candidate")
    options = [
        Option(
            f"{candidate.model} at {candidate.imgsz} px",
            facts.macs_g(candidate),
            facts.precision(candidate),
            candidate.engine,
        )
        for candidate in usable
    ]
    rows: dict[int, Row] = {}

    def measure_one(index: int) -> Cost:
        (rows[index],) = measure([usable[index]], settings, builder=builder, progress=progress)
        return row_cost(rows[index])

    by_accuracy = labelled is not None and all(candidate.has_weights for candidate in usable)
    found = search(options, budget, measure_one, every=by_accuracy)
    accuracies: dict[int, float] | None = None
    if by_accuracy and labelled is not None:
        accuracies = {}
        for index, cost in found.costs.items():
            if budget.holds(cost):
                metrics = score(builder.path(usable[index]), settings, labelled, rows[index].imgsz)
                rows[index] = replace(rows[index], AP=metrics.AP, AP50=metrics.AP50)
                accuracies[index] = metrics.AP or 0.0
    best = best_fit(options, found.costs, budget, accuracies)
    named = best if best is not None else nearest_miss(found.costs, budget)
    rows = {index: replace(row, ratio=row.median_ms / rows[named].median_ms) for index, row in rows.items()}
    skipped += [Skipped(usable[index], reason) for index, reason in sorted(found.skipped.items())]
    train, export = ("", "") if best is None else facts.commands(usable[best], rows[best], data)
    return FitResult(
        budget=budget,
        rows=sorted(rows.values(), key=lambda row: row.total_ms),
        skipped=skipped,
        chosen=rows[named] if best is not None else None,
        nearest=rows[named] if best is None else None,
        decided_by="AP" if by_accuracy else "MACs",
        train=train,
        export=export,
    )


def row_cost(row: Row) -> Cost:
    """What a budget is held against."""
    return Cost(row.total_ms, row.memory_mb)


class _Facts:
    """What weights say about themselves and networks cost, each looked up once."""

    def __init__(self, classes: int, labelled: Labelled | None) -> None:
        self._classes, self._labelled = classes, labelled
        self._metadata: dict[str, ModelMetadata] = {}
        self._macs: dict[str, float] = {}

    def unusable(self, candidate: Candidate) -> str | None:
        """Why a candidate cannot be measured at its size, None where it can."""
        if not candidate.has_weights:
            return None
        metadata = self._of(candidate)
        if self._labelled is not None:
            match_class_names(metadata.class_names, self._labelled.data.class_names)
        export = metadata.export or ExportInfo(format="")
        if candidate.kind == "file" and export.canvas is not None and max(export.canvas) != candidate.imgsz:
            return f"the file takes {max(export.canvas)} px only"
        if candidate.imgsz is not None and candidate.imgsz % metadata.stride:
            return f"sizes of this network are multiples of {metadata.stride}"
        return None

    def precision(self, candidate: Candidate) -> str:
        """Of a file its own, else the one to export with."""
        export = self._of(candidate).export if candidate.kind == "file" else None
        return export.precision if export is not None else candidate.precision

    def macs_g(self, candidate: Candidate) -> float:
        """Billions of multiply-accumulates at the candidate's size; they grow with the number of pixels."""
        if candidate.place not in self._macs:
            self._macs[candidate.place] = self._count(candidate)
        side = candidate.imgsz or DEFAULT_IMGSZ
        return self._macs[candidate.place] * (side / DEFAULT_IMGSZ) ** 2

    def commands(self, candidate: Candidate, row: Row, data: str) -> tuple[str, str]:
        """The train command to run next, and the export command after it."""
        from ghostyolo.export.formats import format_of_engine

        start = ["--model", candidate.place]
        if candidate.has_weights:
            if candidate.model in builtin_names():
                start = ["--weights", candidate.model]
            elif candidate.place.endswith(CHECKPOINT_SUFFIX):
                start = ["--weights", candidate.place]
            else:  # a file for a device cannot be trained on: its network can, anew
                start = ["--model", self._of(candidate).model]
        size = ["--imgsz", str(row.imgsz)]
        train = ["ghostyolo", "train", "--data", data, *start, *size, "--out", RUN]
        export = ["ghostyolo", "export", "--weights", f"{RUN}/best{CHECKPOINT_SUFFIX}"]
        if row.engine != CHECKPOINT_ENGINE:
            kind = format_of_engine(row.engine)
            export += ["--format", kind.name if kind is not None else row.engine, *size, "--static"]
            export += ["--precision", row.precision] * (row.precision != "fp32")
            export += ["--data", data] * (row.precision == "int8")
        return shlex.join(train), shlex.join(export)

    def _count(self, candidate: Candidate) -> float:
        if candidate.has_weights:
            metadata = self._of(candidate)
            # By its name where that is counted already, for 80 classes: little of the work is the classes'.
            counted = counted_row(metadata.model, DEFAULT_IMGSZ, CLASSES) or count_costs(metadata, DEFAULT_IMGSZ)
            if not counted:
                raise ConfigError(
                    f"the work of {candidate.model} ({metadata.model}) cannot be counted, so there is no telling what "
                    f"could fit: {install_command('train')}, or measure it with ghostyolo benchmark"
                )
            return float(counted["macs_g"])
        row = counted_row(candidate.place, DEFAULT_IMGSZ, self._classes)
        if row is None:
            from ghostyolo.models.costs import describe_model

            row = describe_model(candidate.place, DEFAULT_IMGSZ, self._classes)
        return float(row["macs_g"])

    def _of(self, candidate: Candidate) -> ModelMetadata:
        if candidate.place not in self._metadata:
            self._metadata[candidate.place] = open_engine(candidate.place).metadata
        return self._metadata[candidate.place]


def own_size(weights: str) -> int:
    """The side that weights were trained or exported at, pixels."""
    from ghostyolo.runtime.predictor import load

    predictor = load(weights)
    return max(predictor.canvas or [predictor.metadata.imgsz])

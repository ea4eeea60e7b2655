"""The candidates of a measurement: a network each, on an engine.

Networks are weights, untrained ones of the zoo, or other packages'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.extras import require
from ghostyolo.metadata import Precision
from ghostyolo.runtime.engines import EngineKind, engine_kinds, find_kind
from ghostyolo.runtime.weights import resolve_weights

CHECKPOINT_SUFFIX = ".safetensors"
CHECKPOINT_ENGINE = "torch"
DEFAULT_ENGINE = "onnxruntime"
CLASSES = 80

Kind = Literal["file", "checkpoint", "network", "ultralytics"]


@dataclass(frozen=True)
class Candidate:
    """One row of the table, before it is measured.

    Attributes:
        model: what the row calls it.
        kind: a file as it is, a checkpoint or an untrained network to export first, or another package's network.
        place: the file, or the network's name.
        engine: what is to run it.
        imgsz: side of the canvas in pixels; None: the weights' own.
        precision: to export with; of a file: whatever it has.
    """

    model: str
    kind: Kind
    place: str
    engine: str
    imgsz: int | None = None
    precision: Precision = "fp32"

    @property
    def has_weights(self) -> bool:
        """Whether it was trained, so that AP means something."""
        return self.kind in ("file", "checkpoint")


def find_engine(name: str) -> EngineKind:
    """An engine whose packages are installed.

    Raises:
        ConfigError: an unknown name, with the nearest.
        MissingExtraError: its packages are not installed.
    """
    for kind in engine_kinds():
        if kind.name == name:
            if kind.extra is not None:
                require(kind.extra, f"--engine {name}")
            return kind
    raise ConfigError(f"unknown engine '{name}': {suggest(name, [kind.name for kind in engine_kinds()])}")


def check_precision(engine: str, precision: str) -> None:
    """Refuse what cannot be exported for an engine, before anything is built.

    Raises:
        ConfigError: nothing can be exported for the engine here, or not as that.
    """
    from ghostyolo.export.formats import format_of_engine

    if precision not in get_args(Precision):
        raise ConfigError(f"unknown precision '{precision}': {suggest(precision, get_args(Precision))}")
    if engine == CHECKPOINT_ENGINE:
        can: tuple[str, ...] = ("fp32",)
    else:
        kind = format_of_engine(engine)
        can = kind.written_as if kind is not None else ()
    if not can:
        raise ConfigError(f"nothing can be exported for {engine}: give a file for it with --weights")
    if precision not in can:
        raise ConfigError(f"{engine} is given {' or '.join(can)}, not {precision}")


def weights_candidates(
    weights: str, engines: Sequence[str], imgsz: int | None, precisions: Sequence[Precision] = ("fp32",)
) -> list[Candidate]:
    """Weights on each engine; without engines, on their own.

    A file for one engine runs on that. A checkpoint is exported for each, and so is a built-in name where its own file
    is for another engine.

    Raises:
        WeightsError: no such weights.
        ConfigError: an unknown engine, or a file that none of them runs.
        MissingExtraError: an engine's packages, or those that export, are not installed.
    """
    path = resolve_weights(weights)
    kind = find_kind(path)
    if kind is None:  # the runtime's own message
        from ghostyolo.runtime.engines import open_engine

        open_engine(path)
        raise ConfigError(f"{weights} cannot be run")
    model = _label(weights, path)
    wanted = [find_engine(name) for name in engines] or [find_engine(kind.name)]
    found = []
    for engine in wanted:
        for precision in precisions:
            if engine.name == kind.name and precision == precisions[0]:
                found.append(Candidate(model, "file", str(path), engine.name, imgsz, precision))
                continue
            checkpoint = _checkpoint(weights, path)
            if checkpoint is not None:
                check_precision(engine.name, precision)
                require("train", f"exporting {weights} for {engine.name}")
                found.append(Candidate(model, "checkpoint", str(checkpoint), engine.name, imgsz, precision))
    if not found:
        raise ConfigError(
            f"{weights} runs on {kind.name} only: add it to --engine, or give the {CHECKPOINT_SUFFIX} that it was "
            "exported from"
        )
    return found


def _checkpoint(weights: str, path: Path) -> Path | None:
    """The checkpoint to export, None where there are only files for a device."""
    if path.suffix == CHECKPOINT_SUFFIX:
        return path
    if path.stem != weights:
        return None
    found = resolve_weights(weights, suffixes=(CHECKPOINT_SUFFIX,))
    return found if found.suffix == CHECKPOINT_SUFFIX else None


def _label(weights: str, path: Path) -> str:
    """A short name: a built-in's own, else the file's; of a run's best.safetensors the run's too."""
    if path.stem == weights:
        return weights
    return f"{path.parent.name}/{path.name}" if path.stem in ("best", "last") else path.name


def network_candidates(
    name: str, engines: Sequence[str], imgsz: int | None, precisions: Sequence[Precision] = ("fp32",)
) -> list[Candidate]:
    """An untrained network of the zoo on each engine, by default ONNX Runtime.

    Raises:
        ConfigError: an unknown network or engine.
        MissingExtraError: an engine's packages, or those that build and export, are not installed.
    """
    from ghostyolo.models.config import DetectorConfig
    from ghostyolo.models.names import zoo_config

    if name.endswith((".yaml", ".yml")):
        config = DetectorConfig.from_file(Path(name))
    else:
        config = zoo_config(name)
    wanted = [find_engine(word) for word in engines or [DEFAULT_ENGINE]]
    for engine in wanted:
        for precision in precisions:
            check_precision(engine.name, precision)
    require("train", f"--model {name} (an untrained network is built and exported first)")
    from ghostyolo.models.registry import find_part

    for kind in ("backbone", "neck", "head"):
        find_part(kind, getattr(config, kind).type)
    return [
        Candidate(name, "network", name, engine.name, imgsz, precision) for engine in wanted for precision in precisions
    ]

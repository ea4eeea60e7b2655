"""The formats that a detector can be written in, one file each.

They are found by scanning this folder. A file declares its ``FORMAT`` and holds what writes it, INT8 beside float. The
rows are read at start-up, also in the install without torch: heavy imports stand inside functions. docs/add-a-format.md
shows one whole.

A writer is ``write(job: ExportJob, path: Path) -> None``: it puts the folded network at ``path``, which has the right
name and lies in a temporary folder, with ``job.metadata`` inside, and raises :class:`ghostyolo.errors.ExportError`
where it cannot. A quantiser (:mod:`ghostyolo.export.quantise`) does the same in INT8. Everything around them (options,
checks, parity, moving into place) is :mod:`ghostyolo.export.exporter`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ghostyolo.errors import ConfigError, ExportError, suggest
from ghostyolo.extras import Extra, declared
from ghostyolo.metadata import Output, Precision

if TYPE_CHECKING:
    import supervision

    from ghostyolo.export.deployed import ExportJob
    from ghostyolo.export.parity import Image
    from ghostyolo.export.quantise import Canvas, Quantiser

ONNX_OPSETS = range(18, 24)


@dataclass(frozen=True)
class Elsewhere:
    """Where a file is meant to run, if not in this engine.

    Attributes:
        place: such as ``"a browser"``.
        detect: given the file, pictures (H, W, C) uint8 RGB and the least score, what is found on each there; a text
            where that place is not at hand: why.
    """

    place: str
    detect: Callable[[Path, Sequence[Image], float], list[supervision.Detections] | str]


@dataclass(frozen=True)
class ExportFormat:
    """What a format can hold.

    Attributes:
        name: as in ``--format``.
        suffix: of the file's or folder's name.
        engine: name of what runs it here (:func:`ghostyolo.runtime.engines.engine_kinds`).
        write: writes its files.
        quantise: writes its INT8 files; None: there are none.
        needs: extras that its writer and its engine need.
        int8_needs: extras that its quantiser needs beside those.
        dynamic: whether batch and size may be left open.
        batches: whether a call may take more than one picture.
        precisions: that can be written; where there is a quantiser, int8 too.
        outputs: that can be written.
        opsets: ONNX operator sets it can be written through.
        rewritten: whether a rewritten graph (:mod:`ghostyolo.export.rewrite`) was measured to be faster in its engine.
        channel_block: channels that its engine keeps together in memory, and pads to in private where a layer has not a
            multiple of it; 1: it does not care.
        inner: the file of a folder that its engine opens; empty: the whole.
        elsewhere: where the file is meant to run, if not in its engine: answers are compared there too.
    """

    name: str
    suffix: str
    engine: str
    write: Callable[[ExportJob, Path], None]
    quantise: Quantiser | None = None
    needs: tuple[Extra, ...] = ()
    int8_needs: tuple[Extra, ...] = ()
    dynamic: bool = False
    batches: bool = True
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    outputs: tuple[Output, ...] = ("decoded", "raw")
    opsets: range = range(0)
    rewritten: bool = False
    channel_block: int = 1
    inner: str = ""
    elsewhere: Elsewhere | None = None

    @property
    def written_as(self) -> tuple[Precision, ...]:
        """All precisions of its files."""
        return (*self.precisions, "int8") if self.quantise else self.precisions

    def opened(self, path: Path) -> Path:
        """What the engine opens of a written file or folder."""
        return path / self.inner if self.inner else path

    def write_file(self, job: ExportJob, path: Path) -> None:
        """Run the writer.

        Raises:
            ExportError: the format cannot take the network, or the writer left nothing.
        """
        self.write(job, path)
        self._check(path)

    def quantise_file(
        self, job: ExportJob, path: Path, calibration: Sequence[Canvas], keep_float: frozenset[str]
    ) -> None:
        """Run the quantiser; see :data:`ghostyolo.export.quantise.Quantiser`.

        Raises:
            ExportError: the format's library cannot quantise the network, or left nothing.
        """
        assert self.quantise is not None
        self.quantise(job, path, calibration, keep_float)
        self._check(path)

    def _check(self, path: Path) -> None:
        if not path.exists():
            raise ExportError(f"{self.name}: its writer left no {path.name}")


class Unfinished(ExportError):
    """A writer cannot finish here, but leaves a file for another machine.

    Args:
        left: the file, in the writer's temporary folder; it is moved beside the target under its name.
        explain: the message, given the file's new place.
    """

    def __init__(self, left: Path, explain: Callable[[Path], str]) -> None:
        super().__init__(explain(left))
        self.left = left
        self.explain = explain


@cache
def export_formats() -> tuple[ExportFormat, ...]:
    """Return all formats."""
    return tuple(declared(__name__, "FORMAT"))


def format_of_engine(engine: str) -> ExportFormat | None:
    """Return the format that is written for an engine, None where nothing is."""
    return next((kind for kind in export_formats() if kind.engine == engine), None)


def find_format(name: str) -> ExportFormat:
    """The format of this name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    for kind in export_formats():
        if kind.name == name:
            return kind
    for kind in export_formats():
        if name.lower().lstrip("._") == kind.suffix.lstrip("._"):
            raise ConfigError(f"unknown export format '{name}': files *{kind.suffix} are of the format {kind.name}")
    raise ConfigError(f"unknown export format '{name}': {suggest(name, [kind.name for kind in export_formats()])}")

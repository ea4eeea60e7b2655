"""What every inference engine looks like, and how weights find their engine.

An engine maps images (B, C, H, W) float32, RGB in 0..1, H and W multiples of the stride, to boxes (B, A, 4)
xyxy in input pixels and scores (B, A, classes) in 0..1. Everything else (letterbox, thresholds, NMS) is the
predictor's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError, WeightsError, suggest
from ghostyolo.extras import Extra, declared, require
from ghostyolo.metadata import ModelMetadata

PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")


class Engine(Protocol):
    """A network that can be run, whatever runs it.

    Attributes:
        name: the library that runs it, such as ``"onnxruntime"``.
        metadata: what the weights say about themselves.
    """

    name: str
    metadata: ModelMetadata

    def __call__(self, images: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Run (B, C, H, W) in 0..1; return boxes_xyxy (B, A, 4) in pixels, scores (B, A, classes)."""
        ...


@dataclass(frozen=True)
class EngineSetup:
    """How an engine is to run.

    Attributes:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: CPU threads for one network call; None lets the engine choose.
        options: the engine's own settings, by its own names.
        layout: how another program's ONNX file answers; None: find out.
    """

    device: str = "cpu"
    threads: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    layout: str | None = None

    def require_cpu(self, engine: str) -> None:
        """Refuse a device that the engine does not run on.

        Raises:
            ConfigError: anything but the CPU.
        """
        if parse_device(self.device)[0] != "cpu":
            raise ConfigError(f"{engine} runs on the CPU here, not on {self.device}: use --device cpu")

    def check_options(self, engine: str, known: Collection[str]) -> None:
        """Refuse an option that the engine does not know.

        Raises:
            ConfigError: names the nearest one.
        """
        for name in self.options:
            if not known:
                raise ConfigError(f"{engine} takes no engine options: leave out '{name}'")
            if name not in known:
                raise ConfigError(f"{engine} has no option '{name}': {suggest(name, known)}")

    def choice(self, name: str, valid: Mapping[str, Any], default: str) -> Any:
        """Return what the word given for an option stands for.

        Raises:
            ConfigError: another word.
        """
        word = str(self.options.get(name, default)).lower()
        if word not in valid:
            raise ConfigError(f"engine option {name} is {self.options[name]!r}: valid are {', '.join(valid)}")
        return valid[word]


@dataclass(frozen=True)
class EngineKind:
    """One kind of weights and what runs it.

    Each file of this package declares its own, as ``KIND``.

    Attributes:
        name: the engine's.
        suffix: of the file, or of the folder's name where ``inner`` is set.
        open: makes the engine of a file. Imports the library only when called.
        packages: whose versions a measurement depends on, as they are called on PyPI.
        extra: the install that it needs; None: the base install has it.
        inner: suffix of the file that such a folder holds, which may be given in its place.
        program: opening a file can run any code, so it is not fetched from strangers.
    """

    name: str
    suffix: str
    open: Callable[[Path, EngineSetup], Engine]
    packages: tuple[str, ...]
    extra: str | Extra | None = None
    inner: str | None = None
    program: bool = False


@cache
def engine_kinds() -> tuple[EngineKind, ...]:
    """Return all kinds of weights that can be run.

    Those that need least installed come first.
    """
    return tuple(sorted(declared(__name__, "KIND"), key=lambda kind: (kind.extra is not None, kind.extra != "train")))


def engine_suffixes() -> tuple[str, ...]:
    """Return what names of weights end in."""
    return tuple(kind.suffix for kind in engine_kinds())


def find_kind(path: str | Path) -> EngineKind | None:
    """Return the kind of weights that a file or folder is.

    Its name says so, or what the folder holds; None: no kind.
    """
    path = Path(path)
    for kind in engine_kinds():
        if kind.inner is None:
            if path.suffix.lower() == kind.suffix and not path.is_dir():
                return kind
        elif (
            path.suffix.lower() == kind.inner
            or path.name.lower().endswith(kind.suffix)
            or (path.is_dir() and any(path.glob(f"*{kind.inner}")))
        ):
            return kind
    return None


def open_engine(
    path: str | Path,
    device: str = "cpu",
    threads: int | None = None,
    engine_options: Mapping[str, Any] | None = None,
    layout: str | None = None,
) -> Engine:
    """Open weights with the engine that their name stands for.

    Args:
        path: a file such as ``x.onnx``, or a folder such as ``x_openvino``.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: CPU threads for one network call; None lets the engine choose.
        engine_options: the engine's own settings, such as ``{"PERFORMANCE_HINT": "THROUGHPUT"}`` (docs/export.md).
        layout: how another program's ONNX file answers (docs/export.md); None: find out.

    Raises:
        WeightsError: no such file, a suffix without an engine, a pickle, or a damaged file.
        ConfigError: an unknown or absent device, threads below 1, or an option that the engine does not know.
        MissingExtraError: the engine's packages are not installed.
    """
    path = Path(path)
    kind = find_kind(path)
    if kind is None:
        check_not_pickle(path)
        given = f"suffix '{path.suffix}'" if path.suffix else "no suffix"
        raise WeightsError(f"{path} has {given}: weights that can be run end in {_suffixes()}")
    if not path.exists():
        raise WeightsError(f"{path} does not exist")
    if kind.inner is not None:
        path = _inner_file(path, kind)
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, not {threads}")
    if kind.extra is not None:
        require(kind.extra, f"running {path.name} in {kind.name}")
    if layout is not None and kind.name != "onnxruntime":
        raise ConfigError(f"a layout is of ONNX files of other programs; {path.name} runs in {kind.name}: leave it out")
    return kind.open(path, EngineSetup(device, threads, engine_options or {}, layout))


def _inner_file(path: Path, kind: EngineKind) -> Path:
    if not path.is_dir():
        return path
    files = sorted(path.glob(f"*{kind.inner}"))
    if len(files) != 1:
        raise WeightsError(f"{path} holds {len(files) or 'no'} {kind.inner} files: name the one to open")
    return files[0]


def check_not_pickle(path: str | Path) -> None:
    """Refuse a pickle by its name, without opening it.

    Raises:
        WeightsError: the suffix is one that pickles use.
    """
    if Path(path).suffix.lower() in PICKLE_SUFFIXES:
        raise WeightsError(
            f"{path} is a pickle, which can run any code when it is opened, so it is not: "
            f"use weights that end in {_suffixes()}, or make a checkpoint of a published one: ghostyolo import"
        )


def _suffixes() -> str:
    *most, last = engine_suffixes()
    return f"{', '.join(most)} or {last}"


def parse_device(device: str) -> tuple[str, int]:
    """Split ``"cuda:1"`` into its kind and its number (0 where none is given).

    Raises:
        ConfigError: neither cpu nor cuda.
    """
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return "cpu", 0
    if kind == "cuda" and (device == "cuda" or number.isdecimal()):
        return "cuda", int(number or 0)
    raise ConfigError(f"unknown device '{device}': valid are cpu, cuda, cuda:0, cuda:1, ...")

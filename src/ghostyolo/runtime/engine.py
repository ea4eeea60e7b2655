"""What every inference engine looks like, and how weights find their engine.

An engine maps images (B, C, H, W) float32, RGB in 0..1, H and W multiples of the stride, to boxes (B, A, 4)
xyxy in input pixels and scores (B, A, classes) in 0..1. Everything else (letterbox, thresholds, NMS) is the
predictor's.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.extras import require
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
class EngineKind:
    """One kind of weights and what runs it.

    Attributes:
        name: the engine's.
        suffix: of the file, or of the folder's name where ``inner`` is set.
        opener: ``module:callable``, called with (path, device=, threads=).
        extra: the install that it needs; None: the base install has it.
        inner: suffix of the file that such a folder holds, which may be given in its place.
    """

    name: str
    suffix: str
    opener: str
    extra: str | None = None
    inner: str | None = None


ENGINE_KINDS = (
    EngineKind("onnxruntime", ".onnx", "ghostyolo.runtime.onnx_engine:OnnxEngine"),
    EngineKind("torch", ".safetensors", "ghostyolo.runtime.torch_engine:open_torch_engine", "train"),
    EngineKind("openvino", "_openvino", "ghostyolo.runtime.openvino_engine:OpenVinoEngine", "openvino", ".xml"),
    EngineKind("mnn", ".mnn", "ghostyolo.runtime.mnn_engine:MnnEngine", "mnn"),
    EngineKind("ncnn", "_ncnn", "ghostyolo.runtime.ncnn_engine:NcnnEngine", "ncnn", ".param"),
    EngineKind("torchscript", ".torchscript", "ghostyolo.runtime.torchscript_engine:TorchScriptEngine", "train"),
    EngineKind("executorch", ".pte", "ghostyolo.runtime.executorch_engine:ExecuTorchEngine", "executorch"),
    EngineKind("litert", ".tflite", "ghostyolo.runtime.litert_engine:LiteRtEngine", "litert"),
    EngineKind("tensorrt", ".engine", "ghostyolo.runtime.tensorrt_engine:TensorRtEngine", "tensorrt"),
)
ENGINE_SUFFIXES = tuple(kind.suffix for kind in ENGINE_KINDS)


def find_kind(path: str | Path) -> EngineKind | None:
    """The kind of weights that a file or folder is by its name, and by what a folder holds; None: no kind."""
    path = Path(path)
    for kind in ENGINE_KINDS:
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


def open_engine(path: str | Path, device: str = "cpu", threads: int | None = None, layout: str | None = None) -> Engine:
    """Open weights with the engine that their name stands for.

    Args:
        path: a file such as ``x.onnx``, or a folder such as ``x_openvino``.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: CPU threads for one network call; None lets the engine choose.
        layout: how another program's ONNX file answers (docs/export.md); None: find out.

    Raises:
        WeightsError: no such file, a suffix without an engine, a pickle, or a damaged file.
        ConfigError: an unknown or absent device, or threads below 1.
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
    module, _, name = kind.opener.partition(":")
    options = {} if layout is None else {"layout": layout}
    return getattr(importlib.import_module(module), name)(path, device=device, threads=threads, **options)


def _inner_file(path: Path, kind: EngineKind) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob(f"*{kind.inner}"))
    if len(found) != 1:
        raise WeightsError(f"{path} holds {len(found) or 'no'} {kind.inner} files: name the one to open")
    return found[0]


def check_not_pickle(path: str | Path) -> None:
    """Refuse a pickle by its name, without opening it.

    Raises:
        WeightsError: the suffix is one that pickles use.
    """
    if Path(path).suffix.lower() in PICKLE_SUFFIXES:
        raise WeightsError(
            f"{path} is a pickle, which can run any code when it is opened, so it is not: "
            f"use weights that end in {_suffixes()}"
        )


def _suffixes() -> str:
    return f"{', '.join(ENGINE_SUFFIXES[:-1])} or {ENGINE_SUFFIXES[-1]}"


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


def require_cpu(device: str, engine: str) -> None:
    """Refuse a device that an engine does not run on.

    Raises:
        ConfigError: anything but the CPU.
    """
    if parse_device(device)[0] != "cpu":
        raise ConfigError(f"{engine} runs on the CPU here, not on {device}: use --device cpu")

"""What every inference engine looks like, and how a weights file finds its engine.

An engine maps images (B, C, H, W) float32, RGB in 0..1, H and W multiples of the stride, to boxes (B, A, 4)
xyxy in input pixels and scores (B, A, classes) in 0..1. Everything else (letterbox, thresholds, NMS) is the
predictor's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.metadata import ModelMetadata

ENGINE_SUFFIXES = (".onnx", ".safetensors")
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


def open_engine(path: str | Path, device: str = "cpu", threads: int | None = None) -> Engine:
    """Open a weights file with the engine its suffix stands for.

    Args:
        path: ``.onnx`` (ONNX Runtime) or ``.safetensors`` (torch).
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: CPU threads for one network call; None lets the engine choose.

    Raises:
        WeightsError: no such file, a suffix without an engine, a pickle, or a damaged file.
        ConfigError: an unknown or absent device, or threads below 1.
        MissingExtraError: the engine's packages are not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in ENGINE_SUFFIXES:
        check_not_pickle(path)
        given = f"suffix '{path.suffix}'" if path.suffix else "no suffix"
        raise WeightsError(f"{path} has {given}: weights that can be run end in {' or '.join(ENGINE_SUFFIXES)}")
    if not path.is_file():
        raise WeightsError(f"{path} does not exist or is not a file")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, not {threads}")
    if suffix == ".onnx":
        from ghostyolo.runtime.onnx_engine import OnnxEngine

        return OnnxEngine(path, device=device, threads=threads)
    from ghostyolo.extras import require

    require("train", f"running {path.name} in torch")
    from ghostyolo.runtime.torch_engine import open_torch_engine

    return open_torch_engine(path, device=device, threads=threads)


def check_not_pickle(path: str | Path) -> None:
    """Refuse a pickle by its name, without opening it.

    Raises:
        WeightsError: the suffix is one that pickles use.
    """
    if Path(path).suffix.lower() in PICKLE_SUFFIXES:
        raise WeightsError(
            f"{path} is a pickle, which can run any code when it is opened, so it is not: "
            f"use weights that end in {' or '.join(ENGINE_SUFFIXES)}"
        )


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

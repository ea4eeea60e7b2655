"""Runs ``.engine`` files on TensorRT (10 or 11) and CUDA, without torch.

Memory on the GPU is had through ``cuda-python``, NVIDIA's own bindings, which its TensorRT samples use; ``pycuda`` is
older and kept by others. A plan runs on the kind of GPU and the version of TensorRT that it was built with. TensorRT
reads it as trusted data: open only files of people you trust.

The file is TensorRT's plan, then our metadata, so that the plan can be cut out.

    plan | JSON in UTF-8 | its length, 8 bytes, little endian | ``GHYOLO01``

A plan without this end, as ``trtexec`` writes it, takes its metadata from the ``.onnx`` of the same name beside it,
which is the one it was built from.

No machine of ours has an NVIDIA GPU: this file is written from NVIDIA's documentation and has not been run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.extras import Extra
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.runtime.engines import EngineKind, EngineSetup, parse_device
from ghostyolo.runtime.engines.exported import Array, ExportedEngine

EXTRA = Extra("tensorrt", ("tensorrt", "cuda"))
INPUT = "images"
MAGIC = b"GHYOLO01"
_LENGTH = 8


class TensorRtEngine(ExportedEngine):
    """A network in TensorRT.

    Args:
        path: a file that ``ghostyolo export`` wrote, or ``trtexec`` from our ONNX file beside it.
        setup: the device is CUDA; ``"cpu"``, which stands for nothing said, is the first GPU. Threads have no meaning.

    Raises:
        WeightsError: damaged, built for another GPU or version of TensorRT, or without metadata.
        ConfigError: there is no such CUDA device, or threads were given.
    """

    name = "tensorrt"

    def __init__(self, path: Path, setup: EngineSetup) -> None:
        import tensorrt
        from cuda.bindings import runtime as cuda  # type: ignore[import-untyped]

        self.path, self._cuda, self._tensorrt = path, cuda, tensorrt
        if setup.threads is not None:
            raise ConfigError("TensorRT runs on the GPU: leave out threads")
        setup.check_options("TensorRT", ())
        _, number = parse_device(setup.device)
        code, *count = cuda.cudaGetDeviceCount()
        if int(code) != 0 or number >= int(count[0]):
            raise ConfigError(f"{path} runs on a GPU, and CUDA has no device {number} here")
        self._check(cuda.cudaSetDevice(number))
        plan, text = split_plan(self.path.read_bytes(), str(path))
        self.metadata = ModelMetadata.from_json(text or metadata_beside(self.path), str(path))
        self._runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise WeightsError(
                f"{path} cannot be opened by TensorRT {tensorrt.__version__}: damaged, or built with another version "
                "or for another GPU; export it on this machine"
            )
        names = {self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)}
        missing = {INPUT, *self.export.outputs} - names
        if missing:
            raise WeightsError(f"{path} has no input or output named {', '.join(sorted(missing))}: export it again")
        self._smallest, _, self._largest = (
            tuple(shape) for shape in self._engine.get_tensor_profile_shape(INPUT, 0)
        )  # (B, C, H, W) that the plan was built for
        self._context = self._engine.create_execution_context()
        self._stream = self._check(cuda.cudaStreamCreate())
        self._memory: dict[str, tuple[int, int]] = {}

    def run(self, images: Array) -> Sequence[npt.NDArray[Any]]:
        if not all(low <= size <= high for low, size, high in
                   zip(self._smallest[1:], images.shape[1:], self._largest[1:], strict=True)):  # fmt: skip
            raise ConfigError(
                f"{self.path} was built for {self._smallest[3]} x {self._smallest[2]} to {self._largest[3]} x "
                f"{self._largest[2]} pixels, not for {images.shape[3]} x {images.shape[2]}: export it for that size"
            )
        step = self._largest[0]
        parts = [self._run(images[start : start + step]) for start in range(0, len(images), step)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, images: Array) -> list[npt.NDArray[Any]]:
        cuda, context = self._cuda, self._context
        images = np.ascontiguousarray(images)
        context.set_input_shape(INPUT, images.shape)
        outputs = [
            np.empty(tuple(context.get_tensor_shape(name)), self._tensorrt.nptype(self._engine.get_tensor_dtype(name)))
            for name in self.export.outputs
        ]
        for name, array in ((INPUT, images), *zip(self.export.outputs, outputs, strict=True)):
            context.set_tensor_address(name, self._address(name, array.nbytes))
        upload, download = (
            cuda.cudaMemcpyKind.cudaMemcpyHostToDevice,
            cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost,
        )
        address = self._memory[INPUT][0]
        self._check(cuda.cudaMemcpyAsync(address, images.ctypes.data, images.nbytes, upload, self._stream))
        if not context.execute_async_v3(self._stream):
            raise WeightsError(f"{self.path} does not run on this GPU: export it on this machine")
        for name, array in zip(self.export.outputs, outputs, strict=True):
            address = self._memory[name][0]
            self._check(cuda.cudaMemcpyAsync(array.ctypes.data, address, array.nbytes, download, self._stream))
        self._check(cuda.cudaStreamSynchronize(self._stream))
        return outputs

    def _address(self, name: str, size: int) -> int:
        """Memory of at least so many bytes, which only grows."""
        address, capacity = self._memory.get(name, (0, 0))
        if capacity < size:
            if capacity:
                self._check(self._cuda.cudaFree(address))
            address, capacity = int(self._check(self._cuda.cudaMalloc(size))), size
            self._memory[name] = (address, capacity)
        return address

    def _check(self, result: Sequence[Any]) -> Any:
        """The value of a CUDA call, which returns its error code before it."""
        code, *values = result
        if int(code) != 0:
            raise ConfigError(f"CUDA refuses to run {self.path}: {code.name}")
        return values[0] if values else None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the end of the process CUDA may be gone
            for address, _ in self._memory.values():
                self._cuda.cudaFree(address)
            self._cuda.cudaStreamDestroy(self._stream)


def join_plan(plan: bytes, metadata: ModelMetadata) -> bytes:
    """The bytes of the file."""
    text = metadata.to_json().encode()
    return plan + text + len(text).to_bytes(_LENGTH, "little") + MAGIC


def split_plan(data: bytes, where: str) -> tuple[bytes, str | None]:
    """The plan, and the JSON or None where there is no such end.

    Raises:
        WeightsError: an end that says more bytes than there are.
    """
    if not data.endswith(MAGIC):
        return data, None
    end = len(data) - len(MAGIC) - _LENGTH
    start = end - int.from_bytes(data[max(end, 0) : end + _LENGTH], "little")
    if end < 0 or start < 0:
        raise WeightsError(f"{where} is damaged: its metadata is longer than the file; export it again")
    try:
        return data[:start], data[start:end].decode()
    except UnicodeDecodeError as error:
        raise WeightsError(f"{where} is damaged: its metadata is no text; export it again") from error


def metadata_beside(path: Path) -> str | None:
    """Return the JSON in the ONNX file of a plan.

    The plan was built from that file; None: there is none.
    """
    source = path.with_suffix(".onnx")
    if not source.is_file():
        return None
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no base class but this
        raise WeightsError(f"{source}, which holds the metadata of {path.name}, is damaged: export it again") from error
    return session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)


KIND = EngineKind("tensorrt", ".engine", TensorRtEngine, packages=("tensorrt",), extra=EXTRA, program=True)

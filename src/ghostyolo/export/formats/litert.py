"""LiteRT files, once TensorFlow Lite (``x.tflite``): one size and batch.

Input and outputs keep torch's layout, (B, C, H, W) in. Outputs are ``output_0``, ``output_1`` ... of the signature
``serving_default``, in the order of ``metadata.export.outputs``. Where the
metadata are: :mod:`ghostyolo.runtime.engines.litert`.
``fp16`` stores the weights in float16 and computes in float32 on the CPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ghostyolo.export.formats import ExportFormat
from ghostyolo.extras import Extra
from ghostyolo.runtime.engines.litert import EXTRA, append_metadata
from ghostyolo.silence import silence

if TYPE_CHECKING:
    from torch import Tensor

    from ghostyolo.export.deployed import ExportJob

FLOAT_BITS = 16


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    with silence(), nearest_by_index():
        _convert(job, path)
        if job.metadata.export is not None and job.metadata.export.precision == "fp16":
            store_half(path)
    append_metadata(path, job.metadata)


def _convert(job: ExportJob, path: Path) -> None:
    import litert_torch

    from ghostyolo.export.torch_program import capture, refusal

    try:
        litert_torch.convert(job.traceable(), (job.example(),)).export(str(path))
    except Exception as error:  # its passes raise whatever they meet
        raise refusal(error, capture(job, "LiteRT"), "LiteRT") from error


def store_half(path: Path) -> None:
    """Store the file's weights in float16, with ai-edge-quantizer.

    The graph is the same and the file about half as large. A Dequantize before each use turns them back, so LiteRT
    computes in float32 on the CPU.
    """
    from ai_edge_quantizer import qtyping, quantizer

    half = quantizer.Quantizer(str(path))
    half.update_quantization_recipe(
        ".*",
        qtyping.TFLOperationName.ALL_SUPPORTED,
        qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(FLOAT_BITS, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        quantizer.AlgorithmName.FLOAT_CASTING,
    )
    small = path.with_name(f"half-{path.name}")
    half.quantize(serialize_to_path=str(small), enable_progress_report=False)
    small.replace(path)


@contextlib.contextmanager
def nearest_by_index() -> Iterator[None]:
    """Let nearest upsampling choose rows and columns, within the block.

    It does so where the size is no multiple. PyTorch takes row ``floor(i h / H)`` of a map for row i; LiteRT's
    converter puts its centres at half, which is another row where H is no multiple of h (7 from 3). Written as a choice
    it is the same everywhere.
    """
    import torch
    from torch.nn import functional

    original = functional.interpolate

    def interpolate(
        x: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **rest: Any
    ) -> Tensor:
        if mode != "nearest" or size is None or x.dim() != 4:
            return original(x, size, scale_factor, mode, **rest)
        targets = [size, size] if isinstance(size, int) else list(size)
        for axis, target in zip((2, 3), targets, strict=True):
            if target % x.shape[axis]:
                x = x.index_select(axis, torch.tensor(source_indices(x.shape[axis], target), device=x.device))
        return x if list(x.shape[2:]) == targets else original(x, targets, mode=mode)

    functional.interpolate = interpolate  # type: ignore[assignment]
    try:
        yield
    finally:
        functional.interpolate = original


def source_indices(length: int, target: int) -> list[int]:
    """Return which of ``length`` rows each of ``target`` rows is.

    The arithmetic is PyTorch's, in float32.
    """
    step = np.float32(length / target)
    return [min(int(np.float32(row) * step), length - 1) for row in range(target)]


FORMAT = ExportFormat("litert", ".tflite", "litert", write, needs=(Extra("litert-export", ("litert_torch",)), EXTRA))

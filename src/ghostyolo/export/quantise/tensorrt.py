"""INT8 TensorRT plans, through a graph whose QuantizeLinear and DequantizeLinear nodes say where to quantise.

TensorRT 11 knows no other way, and 10 prefers it. Activations and weights are int8 around zero, which is all that it
takes. As :mod:`ghostyolo.export.tensorrt`, built from NVIDIA's documentation and not run by us; the graph is, on ONNX
Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.quantise.calibration import Canvas
from ghostyolo.export.quantise.onnx import with_qdq
from ghostyolo.export.tensorrt import finish


def quantise(job: ExportJob, path: Path, calibration: Sequence[Canvas], keep_float: frozenset[str]) -> None:
    """Write ``path`` in INT8, see :mod:`ghostyolo.export.quantise`.

    Raises:
        Unfinished: it cannot be built here; the ONNX lies beside ``path``.
        ExportError: ONNX Runtime cannot quantise the graph, or TensorRT cannot take it.
    """
    finish(with_qdq(job, calibration, keep_float, symmetric=True), job, path)

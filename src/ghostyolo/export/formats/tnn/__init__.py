"""ONNX files that TNN's converter takes (``x.tnn.onnx``): opset 11, one size and batch, float32.

TNN is not published as a package, so nothing here has run it: the file is checked against the converter's list of
operators (:mod:`ghostyolo.export.formats.tnn.operators`) and run by ONNX Runtime. On the way to a device::

    python3 onnx2tnn.py x.tnn.onnx -optimize=1 -half=0 -o out/      # in TNN's tools/onnx2tnn/onnx-converter

TNN is made for maps (B, C, H, W): ``--output raw`` leaves boxes and scores to the reader and fits it best.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ghostyolo.errors import ExportError
from ghostyolo.export.formats import ExportFormat
from ghostyolo.metadata import METADATA_KEY

if TYPE_CHECKING:
    from ghostyolo.export.deployed import ExportJob


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    import onnx

    from ghostyolo.export.formats.tnn.operators import check_operators
    from ghostyolo.export.formats.tnn.opset11 import to_opset_11
    from ghostyolo.export.onnx_graph import first_line, to_onnx

    proto = to_onnx(job)
    check_operators(proto)
    proto = to_opset_11(proto)
    check_operators(proto)
    onnx.helper.set_model_props(proto, {METADATA_KEY: job.metadata.to_json()})
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"this network cannot be said in ONNX of opset 11: {first_line(error)}") from error
    onnx.save(proto, path)


FORMAT = ExportFormat("tnn", ".tnn.onnx", "onnxruntime", write, precisions=("fp32",))

"""Write a detector as an OpenVINO folder: ``model.xml``, ``model.bin``, through ONNX; metadata in ``rt_info``.

``fp16`` stores weights in float16; the CPU computes in float32, a GPU or NPU as it can.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from ghostyolo.errors import ExportError
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.onnx import first_line, to_onnx
from ghostyolo.metadata import METADATA_KEY
from ghostyolo.runtime.engines.openvino import load_openvino

XML = "model.xml"


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    openvino = load_openvino()
    proto = to_onnx(job)
    with tempfile.TemporaryDirectory() as room:
        source = Path(room) / "model.onnx"
        onnx.save(proto, source)
        try:
            model = openvino.convert_model(source)
        except Exception as error:  # its frontends raise several classes without a base
            raise ExportError(f"OpenVINO cannot take this network: {first_line(error)}") from error
        model.set_rt_info(job.metadata.to_json(), [METADATA_KEY])
        half = job.metadata.export is not None and job.metadata.export.precision == "fp16"
        path.mkdir()
        openvino.save_model(model, path / XML, compress_to_fp16=half)

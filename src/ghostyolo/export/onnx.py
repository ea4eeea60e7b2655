"""Write a detector as ONNX with the current torch exporter: slimmed, checked, metadata inside.

Input ``images`` (B, C, H, W) float32, RGB in 0..1. Outputs are ``boxes`` (B, A, 4) xyxy in input pixels and ``scores``
(B, A, classes) in 0..1, or the raw maps of the head (:mod:`ghostyolo.runtime.raw_outputs`), or ``detections`` (N, 7)
after suppression (:mod:`ghostyolo.export.onnx_nms`). ``fp16`` halves the file: weights are stored in float16, the
arithmetic stays float32, since ONNX Runtime's CPU kernels are float32.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxslim
import torch

from ghostyolo.errors import ExportError
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.half_storage import store_half
from ghostyolo.export.onnx_nms import append_nms
from ghostyolo.metadata import METADATA_KEY
from ghostyolo.silence import silence

DEFAULT_OPSET = 18


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    proto = to_onnx(job)
    onnx.helper.set_model_props(proto, {METADATA_KEY: job.metadata.to_json()})
    if job.metadata.export is not None and job.metadata.export.precision == "fp16":
        proto = store_half(proto)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def to_onnx(job: ExportJob) -> onnx.ModelProto:
    """The graph in float32, without metadata, as ONNX and as the way into the formats that are made from it.

    Raises:
        ExportError: the exporter cannot take the network.
    """
    return job.once("onnx", lambda: _make(job))


def _make(job: ExportJob) -> onnx.ModelProto:
    export = job.metadata.export
    program = _trace(job, dynamic=export is None or export.canvas is None)
    _name_after_layers(program)
    proto = onnxslim.slim(program)
    del proto.metadata_props[:]
    proto.producer_name, proto.producer_version = "ghostyolo", job.metadata.version
    if export is not None and export.output == "nms":
        # Boxes of a head that finds each object once overlap by more than 1 never, so none suppresses another.
        append_nms(proto, job.options.nms, iou=job.options.nms.iou if job.metadata.nms else 1.0)
    return proto


def _trace(job: ExportJob, dynamic: bool) -> onnx.ModelProto:
    example, shapes = job.example(), None
    if dynamic:
        stride = job.metadata.stride
        # An example that is not square, so that height and width cannot be taken for one number.
        example = torch.zeros(2, example.shape[1], example.shape[2], example.shape[3] + stride)
        batch, rows, columns = (torch.export.Dim(name, min=1, max=limit) for name, limit in
                                (("batch", 1024), ("rows", 256), ("columns", 256)))  # fmt: skip
        shapes = ({0: batch, 2: stride * rows, 3: stride * columns},)
    try:
        with silence():
            rewritten = job.rewritten(example, shapes)
            program = torch.onnx.export(
                job.model if rewritten is None else rewritten.program,
                (example,) if rewritten is None else (),
                dynamo=True,
                opset_version=job.options.opset or DEFAULT_OPSET,
                input_names=["images"],
                output_names=list(job.model.names),
                dynamic_shapes=shapes if rewritten is None else None,
                verbose=False,
            )
    except Exception as error:  # torch.export and the converter raise classes of their own for each thing
        raise ExportError(f"ONNX cannot express this network: {first_line(error)}") from error
    if program is None:
        raise ExportError("ONNX: the exporter gave no program")
    return program.model_proto


def _name_after_layers(program: onnx.ModelProto) -> None:
    """Put the module's path before each node's name, so that messages of other libraries say which layer they mean."""
    for node in program.graph.node:
        for entry in node.metadata_props:
            if entry.key == "pkg.torch.onnx.name_scopes":
                # ['', 'network', 'network.backbone', 'network.backbone.fine.0', 'conv2d']
                modules = [part.strip(" '") for part in entry.value.strip("[]").split(",")][:-1]
                if modules and modules[-1]:
                    node.name = f"{modules[-1].removeprefix('network.')}/{node.name}"


def first_line(error: BaseException, length: int = 300) -> str:
    """The first line of a library's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:length]

"""The formats that a detector can leave in: one row each, its writer in a file of its own.

A writer is ``write(job: ExportJob, path: Path) -> None``: it puts the folded network at ``path``, which has the right
name and lies in a temporary folder, with ``job.metadata`` inside, and raises :class:`ghostyolo.errors.ExportError`
where it cannot. Everything around it (options, checks, parity, moving into place) is :mod:`ghostyolo.export.run`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.metadata import Output, Precision

ONNX_OPSETS = range(18, 24)


@dataclass(frozen=True)
class ExportFormat:
    """What a format can hold.

    Attributes:
        name: as in ``--format``.
        suffix: of the file's or folder's name.
        writer: ``module:function``.
        quantiser: ``module:function`` that writes INT8 files (:mod:`ghostyolo.export.quantise`); empty: there is none.
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
        engine: name of what runs it here (:data:`ghostyolo.runtime.engines.ENGINE_KINDS`).
    """

    name: str
    suffix: str
    writer: str
    quantiser: str = ""
    needs: tuple[str, ...] = ()
    int8_needs: tuple[str, ...] = ()
    dynamic: bool = False
    batches: bool = True
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    outputs: tuple[Output, ...] = ("decoded", "raw")
    opsets: range = range(0)
    rewritten: bool = False
    channel_block: int = 1
    engine: str = ""

    @property
    def written_as(self) -> tuple[Precision, ...]:
        """All precisions of its files."""
        return (*self.precisions, "int8") if self.quantiser else self.precisions


FORMATS = (
    ExportFormat(
        "onnx",
        ".onnx",
        "ghostyolo.export.onnx:write",
        quantiser="ghostyolo.export.quantise.onnx:quantise",
        dynamic=True,
        outputs=("decoded", "raw", "nms"),
        opsets=ONNX_OPSETS,
        rewritten=True,
        channel_block=16,  # of AVX-512 and ARM; AVX2 has 8, of which it is a multiple
        engine="onnxruntime",
    ),
    ExportFormat(
        "openvino",
        "_openvino",
        "ghostyolo.export.openvino:write",
        quantiser="ghostyolo.export.quantise.openvino:quantise",
        needs=("openvino",),
        int8_needs=("nncf",),
        dynamic=True,
        outputs=("decoded", "raw", "nms"),
        opsets=ONNX_OPSETS,
        rewritten=True,
        engine="openvino",
    ),
    ExportFormat(
        "mnn",
        ".mnn",
        "ghostyolo.export.mnn:write",
        quantiser="ghostyolo.export.quantise.mnn:quantise",
        needs=("mnn",),
        dynamic=True,
        opsets=ONNX_OPSETS,
        engine="mnn",
    ),
    ExportFormat(
        "ncnn",
        "_ncnn",
        "ghostyolo.export.ncnn:write",
        quantiser="ghostyolo.export.quantise.ncnn:quantise",
        needs=("pnnx", "ncnn"),
        batches=False,
        engine="ncnn",
    ),
    ExportFormat(
        "torchscript", ".torchscript", "ghostyolo.export.torchscript:write", precisions=("fp32",), engine="torchscript"
    ),
    ExportFormat(
        "executorch",
        ".pte",
        "ghostyolo.export.executorch:write",
        needs=("executorch",),
        precisions=("fp32",),
        engine="executorch",
    ),
    ExportFormat(
        "litert",
        ".tflite",
        "ghostyolo.export.litert:write",
        needs=("litert-export", "litert"),
        engine="litert",
    ),
    ExportFormat(  # its package and a GPU are looked for by the writer, which leaves the ONNX where they are missing
        "tensorrt",
        ".engine",
        "ghostyolo.export.tensorrt:write",
        quantiser="ghostyolo.export.quantise.tensorrt:quantise",
        dynamic=True,
        opsets=ONNX_OPSETS,
        engine="tensorrt",
    ),
    ExportFormat("tnn", ".tnn.onnx", "ghostyolo.export.tnn:write", precisions=("fp32",), engine="onnxruntime"),
)


def find_format(name: str) -> ExportFormat:
    """The format of this name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    for kind in FORMATS:
        if kind.name == name:
            return kind
    raise ConfigError(f"unknown export format '{name}': {suggest(name, [kind.name for kind in FORMATS])}")

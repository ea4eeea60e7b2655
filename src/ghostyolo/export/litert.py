"""Write a detector for LiteRT, once TensorFlow Lite (``x.tflite``): one size and batch.

Input and outputs keep torch's layout, (B, C, H, W) in. Outputs are ``output_0``, ``output_1`` ... of the signature
``serving_default``, in the order of ``metadata.export.outputs``. Metadata: :mod:`ghostyolo.runtime.appended`.
``fp16`` stores the weights in float16 and computes in float32 on the CPU.
"""

from __future__ import annotations

from pathlib import Path

from ghostyolo.export.aten import capture, refusal
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.litert_half import store_half
from ghostyolo.export.nearest import nearest_by_index
from ghostyolo.runtime.appended import append_metadata
from ghostyolo.silence import silence


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    with silence(), nearest_by_index():
        _convert(job, path)
        if job.metadata.export is not None and job.metadata.export.precision == "fp16":
            store_half(path)
    append_metadata(path, job.metadata)


def _convert(job: ExportJob, path: Path) -> None:
    import litert_torch

    try:
        litert_torch.convert(job.traceable(), (job.example(),)).export(str(path))
    except Exception as error:  # its passes raise whatever they meet
        raise refusal(error, capture(job, "LiteRT"), "LiteRT") from error

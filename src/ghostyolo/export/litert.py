"""Write a detector for LiteRT, once TensorFlow Lite (``x.tflite``): one size and batch, float32.

Input and outputs keep torch's layout, (B, C, H, W) in. Outputs are ``output_0``, ``output_1`` ... of the signature
``serving_default``, in the order of ``metadata.export.outputs``. Metadata: :mod:`ghostyolo.runtime.appended`.
"""

from __future__ import annotations

from pathlib import Path

from ghostyolo.export.aten import capture, refusal
from ghostyolo.export.deployed import ExportJob
from ghostyolo.runtime.appended import append_metadata
from ghostyolo.runtime.silence import silence


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    with silence():
        import litert_torch

        program = capture(job, "LiteRT")
        try:
            litert_torch.convert(job.model, (job.example(),)).export(str(path))
        except Exception as error:  # its passes raise whatever they meet
            raise refusal(error, program, "LiteRT") from error
    append_metadata(path, job.metadata)

"""ExecuTorch programs (``x.pte``): XNNPACK on the CPU, one size and batch, float32.

Metadata is the constant method ``ghostyolo``, which returns the JSON. Operators that XNNPACK lacks run on ExecuTorch's
portable kernels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ghostyolo.export.formats import ExportFormat
from ghostyolo.metadata import METADATA_KEY
from ghostyolo.runtime.engines.executorch import EXTRA
from ghostyolo.silence import silence

if TYPE_CHECKING:
    from ghostyolo.export.deployed import ExportJob


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    with silence():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        from ghostyolo.export.torch_program import capture, refusal

        program = capture(job, "ExecuTorch")
        try:
            edge = to_edge_transform_and_lower(
                program,
                partitioner=[XnnpackPartitioner()],
                constant_methods={METADATA_KEY: job.metadata.to_json()},
            )
            buffer = edge.to_executorch().buffer
        except Exception as error:  # its passes raise whatever they meet
            raise refusal(error, program, "ExecuTorch") from error
    path.write_bytes(buffer)


FORMAT = ExportFormat("executorch", ".pte", "executorch", write, needs=(EXTRA,), precisions=("fp32",))

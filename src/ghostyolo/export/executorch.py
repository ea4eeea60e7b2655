"""Write a detector for ExecuTorch (``x.pte``): XNNPACK on the CPU, one size and batch, float32.

Metadata is the constant method ``ghostyolo``, which returns the JSON. Operators that XNNPACK lacks run on ExecuTorch's
portable kernels.
"""

from __future__ import annotations

from pathlib import Path

from ghostyolo.export.aten import capture, refusal
from ghostyolo.export.deployed import ExportJob
from ghostyolo.metadata import METADATA_KEY
from ghostyolo.silence import silence


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    with silence():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

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

"""TorchScript files (``x.torchscript``): a trace that C++ and Python programs run with libtorch.

A trace has the size and batch that it was made at: gates take a Python branch on the size. Weights are float32; half
precision is for GPUs in torch, where the program that loads the file calls ``half()`` itself. Metadata is the extra
file ``ghostyolo``. TorchScript is deprecated since torch 2.11 in favour of ``torch.export``, but still works.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ghostyolo.errors import ExportError
from ghostyolo.export.formats import ExportFormat
from ghostyolo.metadata import METADATA_KEY
from ghostyolo.silence import silence

if TYPE_CHECKING:
    from ghostyolo.export.deployed import ExportJob


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    import torch

    from ghostyolo.export.onnx_graph import first_line

    try:
        with silence(), torch.no_grad():
            traced = torch.jit.trace(job.traceable(), job.example(), check_trace=False)
            traced.save(str(path), _extra_files={METADATA_KEY: job.metadata.to_json().encode()})
    except Exception as error:  # the tracer passes on whatever it meets
        raise ExportError(f"TorchScript cannot express this network: {first_line(error)}") from error


FORMAT = ExportFormat("torchscript", ".torchscript", "torchscript", write, precisions=("fp32",))

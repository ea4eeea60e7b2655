"""Write a detector as a folder of ncnn's through TorchScript and pnnx: see :mod:`ghostyolo.runtime.ncnn_folder`.

One size, one picture a call. Blob ``in0`` is the picture (C, H, W), RGB in 0..1; ``out0``, ``out1`` ... are the outputs
in the order of the metadata, without their batch: boxes (A, 4) and scores (A, classes), or maps (K, H, W). ``fp16``
stores weights in float16; the arithmetic of the engine here stays float32.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import torch

from ghostyolo.errors import ExportError
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.onnx import first_line
from ghostyolo.runtime.ncnn_engine import open_net
from ghostyolo.runtime.ncnn_folder import BIN, PARAM, write_description
from ghostyolo.silence import silence


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    path.mkdir()
    convert(job, path, half=job.metadata.export is not None and job.metadata.export.precision == "fp16")
    write_description(path, job.metadata)


def convert(job: ExportJob, folder: Path, half: bool = False) -> None:
    """Put the graph and its weights into ``folder``.

    Raises:
        ExportError: an operator that ncnn lacks, or another complaint of pnnx.
    """
    import ncnn
    import pnnx

    example = job.example()
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        try:
            with silence():
                # Tracing again to compare would double the time; parity compares the file itself.
                torch.jit.trace(job.traceable(), example, check_trace=False).save(str(room / "model.pt"))
        except Exception as error:  # torch raises several classes without a base of their own
            raise ExportError(f"ncnn: this network cannot be traced: {first_line(error)}") from error
        shape = str(list(example.shape)).replace(" ", "")
        done = subprocess.run(
            [pnnx.EXEC_PATH, "model.pt", f"inputshape={shape}", f"fp16={int(half)}"],
            cwd=room,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        param, weights = room / PARAM, room / BIN
        if done.returncode != 0 or not param.is_file() or not weights.is_file():
            raise ExportError(f"ncnn: pnnx cannot convert this network: {_complaint(done.stdout, done.returncode)}")
        _check_operators(param, room / "model.pnnx.param")
        with silence() as printed:
            net = open_net(ncnn, param, weights)
        if net is None:
            reason = printed[0][:200] if printed else "no reason given"
            raise ExportError(f"ncnn cannot open what pnnx made of this network: {reason}")
        for file in (param, weights):
            (folder / file.name).write_bytes(file.read_bytes())


def _check_operators(param: Path, before: Path) -> None:
    """Refuse what pnnx could not put into ncnn's operators: it leaves those under torch's names, which have a dot."""
    lacking = [fields[:2] for fields in _layers(param) if "." in fields[0] or "::" in fields[0]]
    lacking = [fields for fields in lacking if fields[0] != "pnnx.Expression"] or lacking
    if lacking:
        operator, name = lacking[0]
        after = _module_before(name, before)
        where = f" (layer {name}{f', after {after}' if after else ''})"
        raise ExportError(f"ncnn has no operator {operator}{where}: it cannot take this network")


def _module_before(name: str, graph: Path) -> str | None:
    """The nearest module of the network ahead of a layer in pnnx's own graph, which keeps the modules' names."""
    module = None
    for fields in _layers(graph) if graph.is_file() else []:
        if fields[1] == name:
            return module
        if fields[0].startswith("nn."):
            module = fields[1]
    return None


def _layers(param: Path) -> list[list[str]]:
    lines = param.read_text(encoding="utf-8").splitlines()[2:]
    return [line.split() for line in lines if len(line.split()) > 1]


def _complaint(printed: str, status: int) -> str:
    """What pnnx said last that names an error; it prints its progress and tracebacks between."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "failed" in line or "not supported" in line]
    return (telling or lines or [f"it ended with status {status}"])[-1][:300]

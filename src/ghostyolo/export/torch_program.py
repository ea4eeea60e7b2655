"""A network as torch operators (``torch.export``), from which ExecuTorch and LiteRT are written."""

from __future__ import annotations

import re

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from ghostyolo.errors import ExportError
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.onnx_graph import first_line


def capture(job: ExportJob, target: str) -> ExportedProgram:
    """The network's operators at the file's size and batch.

    Args:
        target: the format, for messages.

    Raises:
        ExportError: it does things that cannot be recorded.
    """
    try:
        rewritten = job.rewritten()
        return torch.export.export(job.model, (job.example(),)) if rewritten is None else rewritten.program
    except Exception as error:  # torch.export has classes of its own for each thing
        raise ExportError(f"{target} cannot express this network: {first_line(error)}") from error


def refusal(error: Exception, program: ExportedProgram, target: str) -> ExportError:
    """Return the error of a converter in one line.

    It has the operator and the layer where the error names an operator we know.
    """
    message = " ".join(str(error).split())
    for node in program.graph.nodes:
        operator = str(node.target)
        short = ".".join(operator.split(".")[:2])  # aten.add of aten.add.Tensor
        if node.op == "call_function" and re.search(rf"\b{re.escape(short).replace('[.]', '.')}\b", _dotted(message)):
            return ExportError(f"{target} has no operator {short}, which layer '{_layer(node)}' needs")
    return ExportError(f"{target} cannot take this network: {first_line(error)}")


def _dotted(message: str) -> str:
    return message.replace("::", ".")


def _layer(node: Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    return paths[-1].removeprefix("network.") if paths else node.name

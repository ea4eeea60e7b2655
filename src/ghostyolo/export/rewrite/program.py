"""Turns a network into a graph of ATen operators, and back.

The way back ends in a program that exporters take.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx import Graph, GraphModule, Node

from ghostyolo.export.rewrite.graph import find_tensor


def capture(model: nn.Module, example: Tensor, dynamic_shapes: Any = None) -> ExportedProgram:
    """The network's operators, for the example's size or for all that ``dynamic_shapes`` allows."""
    with torch.no_grad():
        return torch.export.export(model, (example,), dynamic_shapes=dynamic_shapes)


def as_module(program: ExportedProgram) -> GraphModule:
    """A module whose graph reads its weights by name."""
    return program.module(check_guards=False)  # type: ignore[return-value]


def as_program(module: GraphModule, captured: ExportedProgram) -> ExportedProgram:
    """Return the module as a program.

    Its inputs, outputs and ranges are those of the one that it was made from. Capturing again would take as long as the
    first time and lose the names of the layers.
    """
    graph, placed = Graph(), {}
    inputs: list[InputSpec] = []
    state: dict[str, Tensor] = {}
    by_name: dict[str, Node] = {}
    for node in module.graph.nodes:
        if node.op != "get_attr":
            continue
        name = str(node.target)
        if name not in by_name:
            tensor = find_tensor(module, name)
            if tensor is None:
                raise TypeError(f"{name} is no tensor")
            state[name] = tensor
            by_name[name] = graph.placeholder(f"p_{name.replace('.', '_')}")
            by_name[name].meta["val"] = node.meta["val"]
            spec = TensorArgument(by_name[name].name)
            inputs.append(InputSpec(InputKind.PARAMETER, spec, name))
        placed[node] = by_name[name]
    for node in module.graph.nodes:
        if node.op == "get_attr":
            continue
        copied = placed[node] = graph.node_copy(node, lambda one: placed[one])
        copied.meta = dict(node.meta)
        if node.op == "placeholder":
            inputs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(copied.name), None))
    (end,) = [node for node in graph.nodes if node.op == "output"]
    results = end.args[0]
    graph.erase_node(end)
    graph.output(tuple(results))
    outputs = [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(one.name), None) for one in results]
    state = {
        name: tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, requires_grad=False)
        for name, tensor in state.items()
    }
    return ExportedProgram(
        root=torch.nn.Module(),
        graph=graph,
        graph_signature=ExportGraphSignature(inputs, outputs),
        state_dict=state,
        range_constraints=captured.range_constraints,
        module_call_graph=captured.module_call_graph[:1],
        example_inputs=captured.example_inputs,
        constants={},
        verifiers=captured.verifiers,
    )

"""Make a quantised ONNX graph small: of a detector of two million weights, names and copies are a third of the file.

The arithmetic is left as it is. Equal initializers become one (a quantised graph has a zero point for each tensor, and
for each channel of a weight and of a bias), shapes that are inferred again at load are dropped, and what is inside the
graph gets short names. Inputs and outputs keep theirs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import onnx


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model, changed in place. It must have no subgraphs."""
    graph = model.graph
    del graph.value_info[:]
    kept_for = _merge_initializers(graph)
    short = _namer({value.name for value in (*graph.input, *graph.output)})
    for node in graph.node:
        node.name = ""
        inputs = [short(kept_for.get(name, name)) for name in node.input]
        outputs = [short(name) for name in node.output]
        del node.input[:], node.output[:]
        node.input.extend(inputs)
        node.output.extend(outputs)
    for initializer in graph.initializer:
        initializer.name = short(initializer.name)
    return model


def _merge_initializers(graph: onnx.GraphProto) -> dict[str, str]:
    """Drop equal copies; return the name that is left for each one dropped."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    kept_for: dict[str, str] = {}
    kept = []
    for initializer in graph.initializer:
        values = onnx.numpy_helper.to_array(initializer).tobytes()
        name = first.setdefault((initializer.data_type, tuple(initializer.dims), values), initializer.name)
        if name == initializer.name:
            kept.append(initializer)
        else:
            kept_for[initializer.name] = name
    others = onnx.GraphProto()
    others.initializer.extend(kept)
    del graph.initializer[:]
    graph.initializer.extend(others.initializer)
    return kept_for


def _namer(public: set[str]) -> Callable[[str], str]:
    """Numbers for names, in the order they are asked for; public names, and the one of an input left out, stay."""
    numbers = (str(number) for number in itertools.count())
    given: dict[str, str] = {}

    def short(name: str) -> str:
        if not name or name in public:
            return name
        if name not in given:
            given[name] = next(number for number in numbers if number not in public)
        return given[name]

    return short

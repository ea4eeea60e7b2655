"""ONNX files (``x.onnx``): slimmed, checked, metadata in ``metadata_props["ghostyolo"]``.

``fp16`` halves the file: weights are stored in float16, the arithmetic stays float32, since ONNX Runtime's CPU kernels
are float32. ``int8``: :mod:`ghostyolo.export.quantise.qdq`; whatever stays in float is stored in float16.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghostyolo.export.formats import ONNX_OPSETS, ExportFormat
from ghostyolo.metadata import METADATA_KEY

if TYPE_CHECKING:
    import onnx

    from ghostyolo.export.deployed import ExportJob
    from ghostyolo.export.quantise import Canvas


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    import onnx

    from ghostyolo.export.half_precision import store_half
    from ghostyolo.export.onnx_graph import to_onnx

    proto = to_onnx(job)
    onnx.helper.set_model_props(proto, {METADATA_KEY: job.metadata.to_json()})
    if job.metadata.export is not None and job.metadata.export.precision == "fp16":
        proto = store_half(proto)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def quantise(job: ExportJob, path: Path, calibration: Sequence[Canvas], keep_float: frozenset[str]) -> None:
    """Write ``path`` in INT8, see :mod:`ghostyolo.export.quantise`.

    Raises:
        ExportError: no layer is left to quantise, or ONNX Runtime cannot quantise the graph.
    """
    import onnx

    from ghostyolo.export.half_precision import store_half
    from ghostyolo.export.quantise.qdq import with_qdq

    quantised = compact(store_half(with_qdq(job, calibration, keep_float)))
    onnx.helper.set_model_props(quantised, {METADATA_KEY: job.metadata.to_json()})
    onnx.checker.check_model(quantised)
    onnx.save(quantised, path)


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make a quantised graph small.

    Names and copies are a third of a file of two million weights. The arithmetic is left as it is. Equal initializers
    become one (a quantised graph has a zero point for each tensor, and for each channel of a weight and of a bias),
    shapes that are inferred again at load are dropped, and what is inside the graph gets short names. Inputs and
    outputs keep theirs.

    Args:
        model: without subgraphs; changed in place.
    """
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
    import onnx

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


FORMAT = ExportFormat(
    "onnx",
    ".onnx",
    "onnxruntime",
    write,
    quantise,
    dynamic=True,
    outputs=("decoded", "raw", "nms"),
    opsets=ONNX_OPSETS,
    rewritten=True,
    channel_block=16,  # of AVX-512 and ARM; AVX2 has 8, of which it is a multiple
)

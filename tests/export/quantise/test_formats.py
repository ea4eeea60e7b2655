"""Each quantiser end to end: a file whose answers are near the network's, with layers in float where that is asked."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch

from ghostyolo.errors import ConfigError, ExportError
from ghostyolo.export.deployed import DeployedModel, ExportJob, fold_for_device
from ghostyolo.export.exporter import export_network
from ghostyolo.export.formats import export_formats, find_format
from ghostyolo.export.formats.onnx import quantise
from ghostyolo.export.options import ExportOptions
from ghostyolo.export.quantise.quantiser import Quantisation
from ghostyolo.extras import available
from ghostyolo.metadata import ExportInfo
from ghostyolo.runtime.engines import open_engine
from tests.export.quantise.builders import canvases, detector

QUANTISED = [
    pytest.param(
        kind.name,
        kind.suffix,
        marks=pytest.mark.skipif(
            not all(available(extra) for extra in (*kind.needs, *kind.int8_needs)), reason=f"needs {kind.name}"
        ),
    )
    for kind in export_formats()
    if kind.quantise and kind.name != "tensorrt"  # which has a test of its own, without the library
]


def export(model, metadata, path, format="onnx", quantisation=None, **options):
    quantisation = quantisation or Quantisation(canvases())
    return export_network(
        model,
        metadata,
        path,
        format,
        ExportOptions(precision="int8", **options),
        quantisation=quantisation,
        check=False,
    )


@pytest.mark.parametrize(("format", "suffix"), QUANTISED)
def test_an_int8_file_answers_nearly_as_the_network(tmp_path, format, suffix):
    model, metadata = detector()
    result = export(model, metadata, tmp_path / f"m{suffix}", format)
    engine = open_engine(result.path)
    assert engine.metadata.export.precision == "int8"
    assert engine.metadata.class_names == metadata.class_names
    images = canvases()[3]
    boxes, scores = engine(images)
    with torch.no_grad():
        expected_boxes, expected_scores = model(torch.from_numpy(images))
    assert np.abs(boxes - expected_boxes.numpy()).mean() < 1.0  # pixels; strides are 8 to 32
    assert np.abs(scores - expected_scores.numpy()).max() < 0.02
    assert np.abs(boxes - expected_boxes.numpy()).max() > 1e-3, "nothing was rounded"
    report = json.loads((tmp_path / f"m{suffix}.int8.json").read_text())
    assert report["ap"] is None
    assert report["ms"] > 0
    assert report["calibration_images"] == 8
    assert result.quantisation.layers == report["layers"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("head", ["end2end", "yolox", "anchor"])
def test_other_heads_stay_near_too(tmp_path, head):
    model, metadata = detector(head)
    export(model, metadata, tmp_path / "m.onnx")
    images = canvases()[3]
    boxes, scores = open_engine(tmp_path / "m.onnx")(images)
    with torch.no_grad():
        expected_boxes, expected_scores = model(torch.from_numpy(images))
    assert np.abs(boxes - expected_boxes.numpy()).mean() < 1.0
    assert np.abs(scores - expected_scores.numpy()).max() < 0.02


@pytest.mark.parametrize(
    "options",
    [
        {"dynamic": False, "batch": 3},
        pytest.param({"output": "raw"}, marks=pytest.mark.slow),
        pytest.param({"output": "nms"}, marks=pytest.mark.slow),
    ],
)
def test_the_other_options_hold_for_int8(tmp_path, options):
    model, metadata = detector()
    export(model, metadata, tmp_path / "m.onnx", **options)
    boxes, scores = open_engine(tmp_path / "m.onnx")(np.concatenate(canvases()[:2]))
    assert boxes.shape[0] == scores.shape[0] == 2


@pytest.fixture(scope="module")
def job() -> ExportJob:
    """A graph of one size, traced once for all tests."""
    model, metadata = detector()
    deployed = DeployedModel(fold_for_device(model), "decoded")
    metadata = metadata.model_copy(
        update={"export": ExportInfo(format="onnx", precision="int8", batch=1, height=64, width=64)}
    )
    return ExportJob(deployed, metadata, ExportOptions(precision="int8"))


def weights_in_int8(path):
    """Shapes of the int8 weights in an ONNX file."""
    return sorted(
        tuple(one.dims)
        for one in onnx.load(path).graph.initializer
        if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4
    )


def test_layers_that_are_kept_have_float_weights_and_no_rounding_before_them(tmp_path, job):
    folded = job.model.network
    quantise(job, tmp_path / "all.onnx", canvases(), frozenset())
    kept = frozenset(f"head.box.{level}.2" for level in range(3))
    quantise(job, tmp_path / "kept.onnx", canvases(), kept)
    missing = list(weights_in_int8(tmp_path / "all.onnx"))
    for shape in weights_in_int8(tmp_path / "kept.onnx"):
        missing.remove(shape)
    assert missing == [tuple(folded.get_submodule(path).weight.shape) for path in sorted(kept)]
    every = {name for name, module in folded.named_modules() if isinstance(module, torch.nn.Conv2d)}
    with pytest.raises(ExportError, match="nothing to quantise"):
        quantise(job, tmp_path / "none.onnx", canvases(), frozenset(every))


def test_decoding_stays_in_float(tmp_path, job):
    """Nothing between a last convolution's rounded output and the boxes is rounded again."""
    quantise(job, tmp_path / "m.onnx", canvases(), frozenset())
    graph = onnx.load(tmp_path / "m.onnx").graph
    producers = {name: node for node in graph.node for name in node.output}
    seen, ahead = set(), [producers["boxes"], producers["scores"]]
    while ahead:
        node = ahead.pop()
        seen.add(node.op_type)
        if node.op_type != "DequantizeLinear":
            ahead += [producers[name] for name in node.input if name in producers]
    assert "Softmax" in seen
    assert "QuantizeLinear" not in seen


def test_int8_without_pictures_to_calibrate_on_is_refused(tmp_path):
    model, metadata = detector()
    with pytest.raises(ConfigError, match="--calibration FOLDER"):
        export_network(model, metadata, tmp_path / "m.onnx", options=ExportOptions(precision="int8"))
    with pytest.raises(ConfigError, match="pictures to calibrate on"):
        Quantisation([])
    with pytest.raises(ConfigError, match="max_drop"):
        Quantisation(canvases(1), max_drop=-1.0)


@pytest.mark.skipif(
    not all(map(available, (*find_format("openvino").needs, *find_format("openvino").int8_needs))), reason="needs nncf"
)
def test_layers_that_are_kept_in_openvino_have_float16_weights(tmp_path, job):
    import openvino

    from ghostyolo.export.formats.openvino import quantise

    kept = ["backbone.fine.0", "head.box.0.2", "head.cls.2.1.0"]
    quantise(job, tmp_path / "m_openvino", canvases(), frozenset(kept))
    model = openvino.Core().read_model(str(tmp_path / "m_openvino" / "model.xml"))
    weights = [node.input_value(1).get_node() for node in model.get_ops() if node.get_type_name() == "Convolution"]
    halves = [node.input_value(0).get_node() for node in weights if node.get_type_name() == "Convert"]
    assert len(weights) > len(halves)
    assert {node.get_element_type().get_type_name() for node in halves} == {"f16"}
    expected = {tuple(job.model.network.get_submodule(path).weight.shape) for path in kept}
    assert {tuple(node.shape) for node in halves} == expected

"""The ONNX for TNN is of opset 11, within TNN's operators, and still gives the network's answers."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from ghostyolo.errors import ConfigError, ExportError, WeightsError
from ghostyolo.export.deployed import DeployedModel, ExportJob, fold_for_device
from ghostyolo.export.exporter import export_network
from ghostyolo.export.formats.tnn.operators import OPERATORS, check_operators
from ghostyolo.export.formats.tnn.opset11 import to_opset_11
from ghostyolo.export.options import ExportOptions
from ghostyolo.models import build_model
from ghostyolo.runtime.engines import open_engine
from tests.export import exported_files as files


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return files.export(tmp_path_factory.mktemp("tnn") / "m.tnn.onnx", "tnn")


def test_the_file_answers_as_the_network_does(path):
    files.assert_answers_as_the_network(path, "onnxruntime")
    assert open_engine(path).metadata.export.format == "tnn"


def test_raw_maps_are_named_after_their_strides(tmp_path):
    files.assert_outputs_keep_their_order(tmp_path / "m.tnn.onnx", "tnn")


def test_the_file_is_static_of_opset_11_and_within_the_operators(path):
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert [(one.domain, one.version) for one in proto.opset_import] == [("", 11)]
    assert proto.ir_version == 6
    assert {node.op_type for node in proto.graph.node} <= OPERATORS
    assert [size.dim_value for size in proto.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 64, 96]
    assert len(proto.graph.input) == 1


@pytest.mark.parametrize("options", [{"dynamic": True}, {"precision": "fp16"}, {"output": "nms"}, {"opset": 18}])
def test_what_the_format_cannot_hold_is_refused(tmp_path, options):
    with pytest.raises(ConfigError, match="tnn"):
        files.export(tmp_path / "m.tnn.onnx", "tnn", **options)


def test_a_truncated_file_is_damaged(path, tmp_path):
    (tmp_path / "m.tnn.onnx").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(WeightsError, match="truncated, damaged or not an ONNX file"):
        open_engine(tmp_path / "m.tnn.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov13n", "yolov13n-ghostnetv3-psa", "yolov7-tiny", "yolox-nano"])
def test_networks_of_the_zoo_fit(tmp_path, name):
    """Hypergraphs, pixel-shuffle gates, focus and pooling: each decoded, which uses the most operators."""
    torch.manual_seed(0)
    model = build_model(name, num_classes=2).eval()
    options = ExportOptions(imgsz=64)
    result = export_network(model, files.METADATA, tmp_path / "m.tnn.onnx", "tnn", options)
    assert result.parity is not None
    assert result.parity.pixels < 0.01


def graph(*nodes, inputs, outputs, constants=None):
    """A model of opset 18."""
    return helper.make_model(
        helper.make_graph(
            list(nodes),
            "test",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(values, name) for name, values in (constants or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )


X = {"x": [1, 4, 6, 8]}
AXES = {"axes": np.array([2, 3])}
SAME = {
    "mean": graph(helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=1, noop_with_empty_axes=0), inputs=X,
                  outputs={"y": [1, 4, 1, 1]}, constants=AXES),
    "largest without axes": graph(helper.make_node("ReduceMax", ["x"], ["y"], keepdims=0), inputs=X, outputs={"y": []}),
    "sum": graph(helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0), inputs=X, outputs={"y": [1, 4]},
                 constants=AXES),
    "squeeze": graph(helper.make_node("Squeeze", ["x", "axes"], ["y"]), inputs=X, outputs={"y": [4, 6, 8]},
                     constants={"axes": np.array([0])}),
    "unsqueeze": graph(helper.make_node("Unsqueeze", ["x", "axes"], ["y"]), inputs=X, outputs={"y": [1, 1, 4, 6, 8]},
                       constants={"axes": np.array([1])}),
    "split in given parts": graph(helper.make_node("Split", ["x", "parts"], ["y", "z"], axis=1), inputs=X,
                                  outputs={"y": [1, 1, 6, 8], "z": [1, 3, 6, 8]},
                                  constants={"parts": np.array([1, 3])}),
    "split in a number of parts": graph(helper.make_node("Split", ["x"], ["y", "z", "w"], axis=-1, num_outputs=3),
                                        inputs=X, outputs={"y": [1, 4, 6, 3], "z": [1, 4, 6, 3], "w": [1, 4, 6, 2]}),
    "softmax of the channels": graph(helper.make_node("Softmax", ["x"], ["y"], axis=1), inputs=X,
                                     outputs={"y": [1, 4, 6, 8]}),
    "softmax of the last axis": graph(helper.make_node("Softmax", ["x"], ["y"]), inputs=X, outputs={"y": [1, 4, 6, 8]}),
    "resize to twice": graph(
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric", antialias=0,
                         keep_aspect_ratio_policy="stretch"),
        inputs=X, outputs={"y": [1, 4, 12, 16]}, constants={"sizes": np.array([1, 4, 12, 16])}),
    "resize to odd sizes": graph(
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric"),
        inputs=X, outputs={"y": [1, 4, 7, 9]}, constants={"sizes": np.array([1, 4, 7, 9])}),
    "resize by scales": graph(helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear"), inputs=X,
                              outputs={"y": [1, 4, 12, 16]},
                              constants={"scales": np.array([1, 1, 2, 2], np.float32)}),
    "reshape": graph(helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=1), inputs=X, outputs={"y": [4, 48]},
                     constants={"shape": np.array([4, -1])}),
    "clip": graph(helper.make_node("Clip", ["x", "low"], ["y"]), inputs=X, outputs={"y": [1, 4, 6, 8]},
                  constants={"low": np.float32(0.3).reshape(())}),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_opset_11_says_the_same(name):
    proto = SAME[name]
    onnx.checker.check_model(proto, full_check=True)
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 8)).astype(np.float32)
    expected = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    old = to_opset_11(proto)
    onnx.checker.check_model(old, full_check=True)
    assert old.opset_import[0].version == 11
    outputs = onnxruntime.InferenceSession(old.SerializeToString()).run(None, {"x": x})
    for output, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("node", "constants", "message"),
    [
        (helper.make_node("LayerNormalization", ["x", "w"], ["y"], "neck.norm/n"), {"w": np.ones(8, np.float32)},
         "LayerNormalization of layer 'neck.norm/n': it came after opset 11"),
        (helper.make_node("ReduceMean", ["x", "axes"], ["y"], "a/n", noop_with_empty_axes=1), AXES,
         "ReduceMean of layer 'a/n': it needs its option noop_with_empty_axes"),
        (helper.make_node("Resize", ["x", "", "scales"], ["y"], "a/n", axes=[2, 3]),
         {"scales": np.ones(2, np.float32)}, "Resize of layer 'a/n': it names its axes"),
    ],
)  # fmt: skip
def test_what_opset_11_cannot_say_is_named_with_its_layer(node, constants, message):
    with pytest.raises(ExportError, match=message):
        to_opset_11(graph(node, inputs=X, outputs={"y": None}, constants=constants))


@pytest.mark.parametrize(
    ("node", "constants", "message"),
    [
        (helper.make_node("Trilu", ["x"], ["y"], "neck.mask/n"), {}, "Trilu of layer 'neck.mask/n': it is not in"),
        (helper.make_node("MaxPool", ["x"], ["y"], "a/n", kernel_shape=[2, 2], pads=[0, 0, 1, 1]), {},
         "MaxPool of layer 'a/n': it pads one side more"),
        (helper.make_node("Gemm", ["x", "w"], ["y"], "a/n", alpha=0.5), {"w": np.ones((8, 8), np.float32)},
         "Gemm of layer 'a/n': it has a factor"),
        (helper.make_node("Gemm", ["x", "x"], ["y"], "a/n"), {}, "Gemm of layer 'a/n': it has weights that are not"),
        (helper.make_node("Resize", ["x", "", "s"], ["y"], "a/n", mode="cubic"), {"s": np.ones(4, np.float32)},
         "Resize of layer 'a/n': it resizes by cubic"),
        (helper.make_node("Reshape", ["x", "z"], ["y"], "a/n"), {}, "Reshape of layer 'a/n': it has parameters that"),
    ],
)  # fmt: skip
def test_what_tnn_lacks_is_named_with_its_layer(node, constants, message):
    with pytest.raises(ExportError, match=message):
        check_operators(graph(node, inputs=X, outputs={"y": None}, constants=constants))


def test_nodes_carry_the_path_of_their_module():
    from ghostyolo.export.onnx_graph import to_onnx

    model = fold_for_device(files.network())
    job = ExportJob(DeployedModel(model, "raw"), files.METADATA, ExportOptions(imgsz=64))
    names = [node.name for node in to_onnx(job).graph.node if node.op_type == "Conv"]
    modules = {name for name, _ in model.named_modules()}
    assert names
    assert {name.split("/")[0] for name in names} <= modules

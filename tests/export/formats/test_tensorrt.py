"""TensorRT: its file's end, command line and shapes, the ONNX left where it cannot be built; on a GPU the build too."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ghostyolo.errors import ExportError, MissingExtraError, OutputError, WeightsError
from ghostyolo.export.deployed import DeployedModel, ExportJob, fold_for_device
from ghostyolo.export.formats import find_format
from ghostyolo.export.formats import tensorrt as writer
from ghostyolo.export.half_precision import after_the_last_weights, compute_half
from ghostyolo.export.onnx_graph import to_onnx
from ghostyolo.export.options import ExportOptions
from ghostyolo.extras import install_command
from ghostyolo.metadata import ModelMetadata
from ghostyolo.runtime.engines import open_engine
from ghostyolo.runtime.engines.tensorrt import join_plan, metadata_beside, split_plan
from tests.export import exported_files as files


@pytest.fixture
def without_tensorrt(monkeypatch):
    monkeypatch.setattr(writer, "available", lambda extra: False)


def test_a_plan_can_be_cut_out_of_its_file():
    plan = bytes(range(256)) * 3
    data = join_plan(plan, files.METADATA)
    assert data.startswith(plan)
    cut, text = split_plan(data, "m.engine")
    assert cut == plan
    assert ModelMetadata.from_json(text, "m.engine") == files.METADATA


def test_a_plan_without_an_end_is_all_plan():
    assert split_plan(b"plan", "m.engine") == (b"plan", None)
    assert split_plan(b"", "m.engine") == (b"", None)


@pytest.mark.parametrize("data", [b"GHYOLO01", b"x" + (99).to_bytes(8, "little") + b"GHYOLO01",
                                  b"\xff\xfe" + (2).to_bytes(8, "little") + b"GHYOLO01"])  # fmt: skip
def test_an_end_that_cannot_be_is_damage(data):
    with pytest.raises(WeightsError, match=r"m\.engine is damaged"):
        split_plan(data, "m.engine")


def job(**options):
    chosen = ExportOptions(**options)
    info = chosen.info(find_format("tensorrt"), files.METADATA)
    metadata = files.METADATA.model_copy(update={"export": info})
    return ExportJob(DeployedModel(fold_for_device(files.network()), "decoded"), metadata, chosen)


def test_shapes_of_an_open_size_reach_from_one_cell_to_twice_the_training_size():
    assert writer.profile_shapes(job(imgsz=(64, 96))) == ((1, 3, 32, 32), (1, 3, 64, 96), (8, 3, 128, 192))
    assert writer.profile_shapes(job(imgsz=64, dynamic=False)) is None


def test_the_command_builds_the_same_plan(tmp_path):
    shapes = ((1, 3, 32, 32), (1, 3, 64, 96), (8, 3, 128, 192))
    command = writer.trtexec_command(tmp_path / "m.onnx", tmp_path / "m.engine", shapes)
    assert command == (
        f"trtexec --onnx={tmp_path}/m.onnx --saveEngine={tmp_path}/m.engine --stronglyTyped --noTF32 "
        "--minShapes=images:1x3x32x32 --optShapes=images:1x3x64x96 --maxShapes=images:8x3x128x192"
    )
    assert "Shapes" not in writer.trtexec_command(tmp_path / "m.onnx", tmp_path / "m.engine", None)


def test_without_the_library_the_onnx_is_left_with_the_command(tmp_path, without_tensorrt):
    with pytest.raises(ExportError, match="TensorRT cannot be built here: its package is not installed") as caught:
        files.export(tmp_path / "m.engine", "tensorrt", dynamic=False)
    assert "\n" not in str(caught.value)
    assert f"trtexec --onnx={tmp_path}/m.onnx --saveEngine={tmp_path}/m.engine" in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == ["m.onnx"]
    engine = open_engine(tmp_path / "m.onnx")
    assert engine.metadata.export.format == "tensorrt"
    files.assert_answers_as_the_network(tmp_path / "m.onnx", "onnxruntime")
    assert ModelMetadata.from_json(metadata_beside(tmp_path / "m.engine"), "m") == engine.metadata


def test_int8_without_the_library_leaves_a_graph_that_says_where_to_quantise(tmp_path, without_tensorrt):
    from ghostyolo.export.exporter import export_network
    from ghostyolo.export.quantise.quantiser import Quantisation

    canvases = [np.random.default_rng(seed).random((1, 3, 64, 64), np.float32) for seed in range(4)]
    options = ExportOptions(imgsz=64, dynamic=False, precision="int8")
    with pytest.raises(ExportError, match=r"TensorRT cannot be built here.*trtexec"):
        export_network(
            files.network(), files.METADATA, tmp_path / "m.engine", "tensorrt", options,
            quantisation=Quantisation(canvases),
        )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    graph = onnx.load(tmp_path / "m.onnx").graph
    steps = {initializer.name: onnx.numpy_helper.to_array(initializer) for initializer in graph.initializer}
    rounded = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(rounded) > 4
    assert all(steps[node.input[2]].dtype == np.int8 and not steps[node.input[2]].any() for node in rounded)
    assert open_engine(tmp_path / "m.onnx").metadata.export.precision == "int8"
    boxes = _as_written(tmp_path / "m.onnx", canvases[0])
    with torch.no_grad():
        expected, _ = fold_for_device(files.network())(torch.from_numpy(canvases[0]))
    assert 0 < np.abs(boxes - expected.numpy()).max() < 4


def _as_written(path, canvas):
    """Boxes, each rounding done where the graph has it: ONNX Runtime's fused INT8 layers saturate without VNNI."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: canvas})[0]


def test_an_onnx_in_the_way_is_kept(tmp_path, without_tensorrt):
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(OutputError, match=r"m\.onnx exists"):
        files.export(tmp_path / "m.engine", "tensorrt", dynamic=False)
    assert (tmp_path / "m.onnx").read_text() == "mine"


def test_an_engine_without_the_library_names_the_install(tmp_path):
    pytest.importorskip("torch")
    if writer.available(writer.EXTRA):
        pytest.skip("tensorrt is installed")
    (tmp_path / "m.engine").write_bytes(b"plan")
    with pytest.raises(MissingExtraError, match=re.escape(install_command("tensorrt"))):
        open_engine(tmp_path / "m.engine")


def test_half_arithmetic_ends_with_the_last_convolutions():
    proto = to_onnx(job(imgsz=64, dynamic=False))
    operators = {node.name: node.op_type for node in proto.graph.node}
    kept = [operators[name] for name in after_the_last_weights(proto)]
    assert "Softmax" in kept
    assert "Conv" not in kept
    half = compute_half(proto)
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    for node in half.graph.node:
        if node.op_type == "Conv":
            assert types[node.input[1]] == onnx.TensorProto.FLOAT16
    images = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    boxes, scores = onnxruntime.InferenceSession(half.SerializeToString()).run(None, {"images": images})
    with torch.no_grad():
        expected_boxes, expected_scores = files.network()(torch.from_numpy(images))
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes, expected_boxes.numpy(), atol=0.5)
    np.testing.assert_allclose(scores, expected_scores.numpy(), atol=0.02)
    assert np.abs(scores - expected_scores.numpy()).max() > 0


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{"dynamic": False}, {"dynamic": False, "precision": "fp16"}, {"dynamic": True}])
def test_a_plan_answers_as_the_network_does(tmp_path, options, monkeypatch):
    pytest.importorskip("tensorrt", reason="needs ghostyolo[tensorrt]")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = files.export(tmp_path / "m.engine", "tensorrt", **options)
    report = files.parity_report(path)
    assert report["engine"] == "tensorrt"
    assert not report["failures"]
    assert list((tmp_path / "cache" / "ghostyolo").glob("tensorrt-*.timings"))

"""Every size, output and precision of ONNX and OpenVINO loads, predicts and agrees with its network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ghostyolo.errors import ConfigError, OutputError, WeightsError
from ghostyolo.export.deployed import fold_for_device
from ghostyolo.export.exporter import export_network
from ghostyolo.export.options import ExportOptions
from ghostyolo.models.heads.base import Head
from ghostyolo.runtime.engines import open_engine
from ghostyolo.runtime.predictor import load
from ghostyolo.thresholds import Selection
from tests.train.tiny import make_confident, model_and_metadata

NAMES = {"onnx": "m.onnx", "openvino": "m_openvino"}


def need(format: str) -> None:
    if format != "onnx":
        pytest.importorskip(format, reason=f"needs the {format} extra")


@pytest.fixture(scope="module")
def network():
    model, metadata = model_and_metadata()
    make_confident(model)
    return model.eval(), metadata


FIXED = {"dynamic": False, "imgsz": (32, 96), "batch": 2}
KINDS = [
    ("onnx", {}),
    ("onnx", {"precision": "fp16"}),
    ("onnx", FIXED),
    ("onnx", {**FIXED, "output": "raw"}),
    ("onnx", {**FIXED, "output": "nms", "nms": Selection(confidence=0.1)}),
    ("openvino", {**FIXED, "precision": "fp16"}),
    ("openvino", FIXED),
]
SLOW_KINDS = [
    ("onnx", {"output": "nms"}),
    ("openvino", {}),
    ("openvino", {"output": "nms"}),
    ("openvino", {**FIXED, "output": "raw"}),
]


@pytest.mark.parametrize(
    ("format", "options"),
    [*KINDS, *(pytest.param(*kind, marks=pytest.mark.slow) for kind in SLOW_KINDS)],
    ids=lambda value: value if isinstance(value, str) else " ".join(map(str, value.values())) or "defaults",
)
def test_every_kind_of_file_agrees_with_its_network(tmp_path, network, format, options):
    need(format)
    model, metadata = network
    result = export_network(model, metadata, tmp_path / NAMES[format], format, ExportOptions(**options))
    assert result.parity.failures == ()
    assert result.parity.detections > 0
    assert {path.name for path in tmp_path.iterdir()} == {NAMES[format], NAMES[format] + ".parity.json"}
    engine = open_engine(result.path, threads=1)
    assert (engine.name, engine.metadata.class_names) == (result.parity.engine, metadata.class_names)
    height, width = engine.metadata.export.canvas or (64, 96)
    images = np.random.default_rng(0).random((3, 3, height, width), dtype=np.float32)
    boxes, scores = engine(images)
    if options.get("output") == "nms":
        assert len(boxes) == len(scores) == 3
        return
    with torch.no_grad():
        expected_boxes, expected_scores = fold_for_device(model)(torch.from_numpy(images))
    loose = 20 if options.get("precision") == "fp16" else 1
    np.testing.assert_allclose(boxes, expected_boxes.numpy(), atol=0.01 * loose)
    np.testing.assert_allclose(scores, expected_scores.numpy(), atol=1e-4 * loose)


@pytest.mark.parametrize("format", NAMES)
def test_what_stands_there_is_kept_unless_told(tmp_path, network, format):
    need(format)
    model, metadata = network
    out = tmp_path / NAMES[format]
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists: give --overwrite"):
        export_network(model, metadata, out, format, ExportOptions(dynamic=False))
    assert (out / "mine.txt").read_text() == "mine"
    export_network(model, metadata, out, format, ExportOptions(dynamic=False), overwrite=True, check=False)
    assert not (out / "mine.txt").exists()
    assert load(out).metadata.class_names == metadata.class_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imgsz": 50}, "imgsz 50 is not a multiple of 32: the nearest valid one is 64"),
        ({"imgsz": (64, 50)}, "imgsz 50 is not a multiple of 32"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"output": "boxes"}, "unknown output 'boxes'"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"batch": 2}, "batch 2 needs a fixed size: add --static"),
        ({"opset": 9}, "opset must be 18 to"),
    ],
)
def test_impossible_options_are_refused_before_any_work(tmp_path, network, options, message):
    model, metadata = network
    with pytest.raises(ConfigError, match=message):
        export_network(model, metadata, tmp_path / "m.onnx", "onnx", ExportOptions(**options))
    assert not list(tmp_path.iterdir())


def test_a_head_without_raw_outputs_is_refused(tmp_path, network, monkeypatch):
    model, metadata = network
    monkeypatch.delattr(Head, "raw")
    with pytest.raises(ConfigError, match="head 'dfl' has no raw outputs"):
        export_network(model, metadata, tmp_path / "m.onnx", "onnx", ExportOptions(output="raw"))


def test_damaged_openvino_folders_are_one_line(tmp_path, network):
    need("openvino")
    model, metadata = network
    out = export_network(
        model, metadata, tmp_path / "m_openvino", "openvino", ExportOptions(dynamic=False), check=False
    ).path
    weights = out / "model.bin"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="cannot be opened: truncated, damaged") as error:
        open_engine(out)
    assert "\n" not in str(error.value)
    weights.unlink()
    with pytest.raises(WeightsError, match=r"has no model\.bin beside it"):
        open_engine(out)
    (out / "model.xml").unlink()
    with pytest.raises(WeightsError, match=r"holds no \.xml files"):
        open_engine(out)

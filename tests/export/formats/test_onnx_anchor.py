"""A detector with an anchor head leaves as ONNX: of one shape, and of any."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ghostyolo.metadata import ModelMetadata
from ghostyolo.models import build_model
from ghostyolo.models.config import DetectorConfig
from ghostyolo.nn.reparam import fold
from ghostyolo.runtime.engines import open_engine

ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    parts = {
        "backbone": {"type": "yolov7", "width": 0.125},
        "neck": {"type": "yolov5_pafpn", "width": 0.125},
        "head": {"type": "anchor", "anchors": [[[6, 9], [12, 8]], [[20, 30], [40, 25]], [[60, 80], [90, 70]]]},
    }
    return build_model(DetectorConfig.from_dict(parts, "test"), num_classes=3).eval()


def test_one_shape(model, tmp_path):
    folded, image = fold(model), torch.rand(1, 3, 64, 96)
    program = torch.onnx.export(folded, (image,), dynamo=True, opset_version=18, verbose=False)
    program.save(tmp_path / "static.onnx")
    session = ort.InferenceSession(str(tmp_path / "static.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.no_grad():
        for ours, expected in zip(found, folded(image), strict=True):
            np.testing.assert_allclose(ours, expected.numpy(), atol=1e-3)


def test_any_shape(model, tmp_path):
    from ghostyolo.export.exporter import export_network

    metadata = ModelMetadata(model="test", class_names=["a", "b", "c"], imgsz=64)
    result = export_network(model, metadata, tmp_path / "m.onnx")
    assert result.parity.pixels < 0.01
    engine, folded = open_engine(tmp_path / "m.onnx"), fold(model)
    assert engine.metadata.config["head"]["params"]["anchors"][0] == [[6, 9], [12, 8]]
    for batch, height, width in ((1, 64, 64), (3, 32, 128), (1, 32, 32)):
        images = torch.rand(batch, 3, height, width)
        boxes, scores = engine(images.numpy())
        with torch.no_grad():
            expected_boxes, expected_scores = folded(images)
        np.testing.assert_allclose(boxes, expected_boxes.numpy(), atol=1e-2)
        np.testing.assert_allclose(scores, expected_scores.numpy(), atol=1e-4)

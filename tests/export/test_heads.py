"""Every head as ONNX gives the network's answers, and the file says whether NMS is needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ghostyolo.export.exporter import export_network
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models import build_model
from ghostyolo.models.config import DetectorConfig
from ghostyolo.runtime.engines import open_engine
from tests.models.test_ghostnet import scramble_norms
from tests.train import tiny  # noqa: F401  registers the parts of bare networks

HEADS = {
    "dfl": {"type": "dfl", "bins": 8, "cls_depthwise": False},
    "end2end": {"type": "end2end", "bins": 8},
    "yolox": {"type": "yolox", "width": 0.125},
}
SIZE = {"depth": 0.33, "width": 0.125}


def networks():
    """Heads on next to nothing, and, slow to export, on the smallest of their families."""
    bare = {"backbone": "test-convs", "neck": "test-none"}
    for name, family in (("dfl", "yolov8"), ("end2end", "yolov8"), ("yolox", "yolox")):
        yield pytest.param({**bare, "head": HEADS[name]}, id=name)
        whole = {"backbone": {"type": family, **SIZE}, "neck": {"type": f"{family}_pafpn", **SIZE}}
        yield pytest.param({**whole, "head": HEADS[name]}, id=f"{family}-{name}", marks=pytest.mark.slow)


@pytest.mark.parametrize("parts", networks())
def test_onnx_runtime_answers_as_the_network(tmp_path, parts):
    torch.manual_seed(0)
    model = build_model(DetectorConfig.from_dict(parts, "test"), num_classes=2).eval()
    with torch.no_grad():
        scramble_norms(model)
    export_network(model, ModelMetadata(model="test", class_names=["a", "b"], imgsz=64), tmp_path / "m.onnx")
    engine = open_engine(tmp_path / "m.onnx")
    assert engine.metadata.nms is (parts["head"]["type"] != "end2end")
    assert engine.metadata.deployed
    for batch, height, width in ((1, 64, 64), (2, 32, 96)):
        images = np.random.default_rng(0).random((batch, 3, height, width), dtype=np.float32)
        boxes, scores = engine(images)
        with torch.no_grad():
            expected_boxes, expected_scores = model(torch.from_numpy(images))
        np.testing.assert_allclose(boxes, expected_boxes.numpy(), atol=1e-2)
        np.testing.assert_allclose(scores, expected_scores.numpy(), atol=1e-4)

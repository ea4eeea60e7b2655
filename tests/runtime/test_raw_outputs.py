"""Decoding the raw maps of each head in numpy gives what the head gives in torch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from ghostyolo.errors import WeightsError  # noqa: E402
from ghostyolo.metadata import ModelMetadata  # noqa: E402
from ghostyolo.models import build_model  # noqa: E402
from ghostyolo.models.config import DetectorConfig  # noqa: E402
from ghostyolo.nn.reparam import fold  # noqa: E402
from ghostyolo.runtime.raw_outputs import decode_maps, level_name  # noqa: E402
from tests.train import tiny  # noqa: E402, F401  registers the parts of bare networks

ANCHORS = [[[6, 9], [12, 8]], [[20, 30], [40, 25]], [[60, 80], [90, 70]]]
HEADS = {
    "dfl": {"type": "dfl", "bins": 8},
    "end2end": {"type": "end2end", "bins": 4},
    "light": {"type": "light", "bins": 8},
    "light_end2end": {"type": "light_end2end", "bins": 4},
    "yolox": {"type": "yolox", "width": 0.125},
    "anchor": {"type": "anchor", "anchors": ANCHORS},
    "anchor with default anchors": {"type": "anchor"},
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_numpy_agrees_with_the_head(head):
    torch.manual_seed(0)
    config = DetectorConfig.from_dict({"backbone": "test-convs", "neck": "test-none", "head": head}, "test")
    model = fold(build_model(config, num_classes=3).eval())
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        boxes, scores = model(images)
        maps = model.head.raw(model.features(images))
    # Rows that stand out, so that a wrong order of anchors or classes is seen.
    assert boxes.std() > 1
    named = {level_name(stride): level.numpy() for stride, level in zip(model.strides, maps, strict=True)}
    metadata = ModelMetadata(
        model="test", class_names=["a", "b", "c"], imgsz=64, config=model.config.model_dump(mode="json")
    )
    our_boxes, our_scores = decode_maps(named, metadata, "x.onnx")
    np.testing.assert_allclose(our_boxes, boxes.numpy(), atol=1e-3)
    np.testing.assert_allclose(our_scores, scores.numpy(), atol=1e-6)


def test_a_head_without_a_decoder_and_maps_of_another_shape_are_refused():
    metadata = ModelMetadata(model="test", class_names=["a"], imgsz=64, config={"head": {"type": "mine"}})
    with pytest.raises(WeightsError, match=r"x\.onnx: raw outputs of head 'mine' cannot be decoded"):
        decode_maps({"level_8": np.zeros((1, 5, 2, 2), np.float32)}, metadata, "x.onnx")
    for head in ("dfl", "yolox", "anchor"):
        metadata = ModelMetadata(model="test", class_names=["a"], imgsz=64, config={"head": {"type": head}})
        with pytest.raises(WeightsError, match=r"output level_8 of shape \(1, 7, 2, 2\) is not one of head"):
            decode_maps({"level_8": np.zeros((1, 7, 2, 2), np.float32)}, metadata, "x.onnx")

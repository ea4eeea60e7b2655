"""``ghostyolo export`` end to end: a checkpoint becomes an ONNX file that gives its answers at any size."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from ghostyolo.metadata import ModelMetadata  # noqa: E402
from ghostyolo.models import build_model  # noqa: E402
from ghostyolo.models.config import DetectorConfig  # noqa: E402
from ghostyolo.models.weights import save_checkpoint  # noqa: E402
from ghostyolo.nn.reparam import fold  # noqa: E402
from ghostyolo.runtime.engines import open_engine  # noqa: E402


def test_export_writes_onnx_that_answers_as_the_network(type_cli, tmp_path):
    torch.manual_seed(0)
    config = DetectorConfig.from_dict(
        {
            "backbone": {"type": "ghostnetv3", "width": 0.25, "branches": 1, "attention": "psa"},
            "neck": {"type": "hyperace_fullpad", "width": 0.125, "hyperedges": 2},
            "head": {"type": "dfl", "bins": 8},
        },
        "test",
    )
    model = build_model(config, num_classes=2).eval()
    metadata = ModelMetadata(model="test", class_names=["a", "b"], imgsz=96)
    save_checkpoint(model, metadata, tmp_path / "m.safetensors")
    done = type_cli("export", "--weights", tmp_path / "m.safetensors", "--out", tmp_path / "m.onnx")
    assert done.returncode == 0, done.stderr
    engine = open_engine(tmp_path / "m.onnx")
    assert engine.metadata.deployed
    assert engine.metadata.class_names == ["a", "b"]
    folded = fold(model)
    for batch, height, width in ((1, 96, 96), (3, 64, 160), (1, 32, 32)):
        images = np.random.default_rng(0).random((batch, 3, height, width), dtype=np.float32)
        boxes, scores = engine(images)
        with torch.no_grad():
            expected_boxes, expected_scores = folded(torch.from_numpy(images))
        np.testing.assert_allclose(boxes, expected_boxes.numpy(), atol=1e-2)
        np.testing.assert_allclose(scores, expected_scores.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weights", "missing.safetensors"), "missing.safetensors"),
        (("--weights", "bccdd"), "bccdd"),
        (("--weights", "bccd", "--format", "onxn"), "did you mean onnx"),
    ],
)
def test_wrong_input_is_one_line(type_cli, tmp_path, arguments, message):
    done = type_cli("export", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr

"""YOLOX-Nano, as its makers released it in ONNX, becomes a checkpoint that answers the same."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402

from ghostyolo.errors import ConfigError, WeightsError  # noqa: E402
from ghostyolo.integrations.published.importer import import_checkpoint  # noqa: E402
from ghostyolo.models.weights import load_checkpoint  # noqa: E402
from ghostyolo.nn.reparam import fold  # noqa: E402

FOLDER = Path(os.environ.get("GHOSTYOLO_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))


@pytest.fixture(scope="module")
def published():
    path = FOLDER / "yolox_nano.onnx"
    if not path.is_file():
        pytest.skip(f"Megvii's yolox_nano.onnx is not in {FOLDER}: set GHOSTYOLO_DATA to the folder that holds it")
    return path


@pytest.fixture(scope="module")
def imported(published, tmp_path_factory):
    return import_checkpoint(published, "yolox-nano", tmp_path_factory.mktemp("imported") / "nano.safetensors")


def raw(path, image):
    """What the file answers to RGB of 0 to 1, which it takes as BGR of 0 to 255."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": (image.flip(1) * 255).numpy()})[0]


@pytest.mark.parametrize("folded", [False, True])
def test_the_network_answers_as_the_file(published, imported, folded):
    model, _ = load_checkpoint(imported.path)
    if folded:
        model = fold(model)
    image = torch.rand(1, 3, 416, 416, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = model.head.collect(model.features(image))
    ours = torch.cat((output.box_offsets, output.obj_logits.sigmoid()[..., None], output.cls_logits.sigmoid()), -1)
    np.testing.assert_allclose(ours.numpy(), raw(published, image), atol=1e-4)


def test_names_place_and_licence_are_kept(imported):
    metadata = imported.metadata
    assert metadata.class_names[:3] == ["person", "bicycle", "car"]
    assert len(metadata.class_names) == len(set(metadata.class_names)) == 80
    assert (metadata.imgsz, metadata.place) == (416, "corner")
    (origin,) = metadata.derived_from
    assert (origin.name, origin.maker, origin.licence) == ("YOLOX", "Megvii", "Apache-2.0")
    assert len(origin.sha256) == 64


def test_norms_have_the_statistics_of_pictures(imported):
    """So that a step of training, which takes them from its batch, begins near what evaluation gives."""
    assert imported.measured == 104
    model, _ = load_checkpoint(imported.path)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 104
    assert all(norm.running_mean.abs().max() > 0 for norm in norms)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("yolox-tiny", WeightsError, "has 113 convolutions, and the network"),
        ("yolov8n", ConfigError, "only a YOLOX is imported from ONNX"),
    ],
)
def test_another_network_is_refused(published, tmp_path, name, error, message):
    with pytest.raises(error, match=message):
        import_checkpoint(published, name, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_file_of_other_arithmetic_is_refused(published, tmp_path):
    model = onnx.load(str(published))
    node = next(node for node in model.graph.node if node.op_type == "MaxPool")
    node.op_type = "AveragePool"
    del node.attribute[:]
    node.attribute.extend(
        onnx.helper.make_attribute(name, value)
        for name, value in {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2], "strides": [1, 1]}.items()
    )
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(WeightsError, match="answers something else"):
        import_checkpoint(tmp_path / "other.onnx", "yolox-nano", tmp_path / "x.safetensors")


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"\x08\x07no")
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(tmp_path / "x.onnx", "yolox-nano", tmp_path / "x.safetensors")
    assert len(str(caught.value).splitlines()) == 1

"""Opening weights files: the right engine, and one clear line for everything that is not a model of ours."""

from __future__ import annotations

import pickle
import re
import shutil

import numpy as np
import pytest

from ghostyolo.errors import ConfigError, GhostYoloError, MissingExtraError, WeightsError
from ghostyolo.extras import install_command
from ghostyolo.runtime.engines import open_engine, parse_device
from tests.runtime.colour_model import MODEL_PATH, RED, WHITE, ColourEngine, metadata, picture, write_model


def as_input(*images):
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_onnx_file_gives_boxes_scores_and_metadata():
    engine = open_engine(MODEL_PATH, threads=1)
    assert engine.name == "onnxruntime"
    assert engine.metadata == metadata()
    boxes, scores = engine(as_input(picture(64, 32, (1, 0, RED)), picture(64, 32, (0, 0, WHITE))))
    assert (boxes.dtype, scores.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(boxes[1], [[0, 0, 32, 32], [32, 0, 64, 32]], atol=1e-4)
    np.testing.assert_allclose(scores, [[[0] * 4, [1, 0, 0, 0]], [[0, 0, 0, 1], [0] * 4]], atol=1e-4)


def test_batch_height_and_width_are_free():
    engine = open_engine(MODEL_PATH)
    for shape in ((1, 3, 32, 32), (5, 3, 64, 96), (2, 3, 96, 64)):
        boxes, scores = engine(np.zeros(shape, np.float32))
        anchors = shape[2] * shape[3] // 32**2
        assert boxes.shape == (shape[0], anchors, 4)
        assert scores.shape == (shape[0], anchors, 4)


def test_numpy_twin_of_the_test_model_agrees_with_it():
    images = np.random.default_rng(0).uniform(0, 1, (2, 3, 64, 96)).astype(np.float32)
    for ours, onnx in zip(ColourEngine()(images), open_engine(MODEL_PATH)(images), strict=True):
        np.testing.assert_allclose(ours, onnx, atol=1e-4)


def test_committed_model_is_what_its_script_writes(tmp_path):
    pytest.importorskip("onnx", reason="the onnx package writes the test model")
    images = np.random.default_rng(0).uniform(0, 1, (1, 3, 64, 64)).astype(np.float32)
    written = open_engine(write_model(tmp_path / "m.onnx"))
    np.testing.assert_array_equal(written(images)[1], open_engine(MODEL_PATH)(images)[1])
    assert written.metadata == open_engine(MODEL_PATH).metadata


def test_unknown_suffix_names_the_valid_ones(tmp_path):
    with pytest.raises(WeightsError, match=r"suffix '.rknn'.*end in \.onnx, \.safetensors"):
        open_engine(tmp_path / "model.rknn")
    with pytest.raises(WeightsError, match="no suffix"):
        open_engine(tmp_path / "model")


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.onnx does not exist"):
        open_engine(tmp_path / "absent.onnx")


@pytest.mark.parametrize("content", ["truncated", "text", "empty", "pickle"])
def test_file_that_is_not_onnx_is_one_line(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(
        {
            "truncated": MODEL_PATH.read_bytes()[:600],
            "text": b"this is not a network",
            "empty": b"",
            "pickle": pickle.dumps({"a": 1}),
        }[content]
    )
    with pytest.raises(WeightsError) as error:
        open_engine(path)
    assert str(path) in one_line(error)


def test_damaged_metadata_names_the_key(tmp_path):
    pytest.importorskip("onnx", reason="the onnx package writes the test model")
    path = write_model(tmp_path / "model.onnx", header='{"model": "x", "class_names": [], "imgsz": 64}')
    with pytest.raises(WeightsError) as error:
        open_engine(path)
    assert "class_names" in one_line(error)


def test_onnx_with_other_outputs_is_refused(tmp_path):
    pytest.importorskip("onnx", reason="the onnx package writes the test model")
    with pytest.raises(WeightsError, match="no input or output named boxes"):
        open_engine(write_model(tmp_path / "model.onnx", boxes_name="output0"))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".PT", ".pkl"])
def test_pickles_are_refused_unopened(tmp_path, suffix):
    # No such file exists: an error about a pickle shows that nothing tried to open it.
    with pytest.raises(WeightsError, match=r"is a pickle.*end in \.onnx, \.safetensors"):
        open_engine(tmp_path / f"model{suffix}")


def test_devices():
    assert parse_device("cpu") == ("cpu", 0)
    assert parse_device("cuda") == ("cuda", 0)
    assert parse_device("cuda:3") == ("cuda", 3)
    for device in ("gpu", "cuda:", "cuda:x", "cpu:1", ""):
        with pytest.raises(ConfigError, match="valid are cpu, cuda"):
            parse_device(device)


def test_cuda_without_cuda_says_what_to_install():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ConfigError, match="pip install onnxruntime-gpu"):
        open_engine(MODEL_PATH, device="cuda")


def test_threads_must_be_positive():
    with pytest.raises(ConfigError, match="threads must be at least 1, not 0"):
        open_engine(MODEL_PATH, threads=0)


def test_safetensors_without_torch_says_what_to_install(tmp_path, monkeypatch):
    from ghostyolo import extras

    monkeypatch.setattr(extras, "available", lambda extra: False)
    shutil.copy(MODEL_PATH, tmp_path / "model.safetensors")
    with pytest.raises(MissingExtraError, match=re.escape(install_command("train"))):
        open_engine(tmp_path / "model.safetensors")


def test_damaged_safetensors_is_one_line(tmp_path):
    pytest.importorskip("torch", reason="torch runs .safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(GhostYoloError) as error:
        open_engine(tmp_path / "model.safetensors")
    assert "model.safetensors" in one_line(error)


def test_live_torch_model_runs_in_evaluation_mode_and_goes_on_training():
    torch = pytest.importorskip("torch", reason="a live torch model is the subject")
    from ghostyolo.runtime.engines.torch import TorchEngine

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, images):
            assert not self.training
            return images[:, 0, :2, :4] * self.scale, images[:, 1, :2, :3]

    model = Model()
    engine = TorchEngine(model, metadata())
    boxes, scores = engine(np.ones((2, 3, 32, 32), np.float32))
    assert model.training
    assert engine.name == "torch"
    np.testing.assert_array_equal(boxes, np.full((2, 2, 4), 2, np.float32))
    np.testing.assert_array_equal(scores, np.ones((2, 2, 3), np.float32))


def test_checkpoint_runs_folded_and_equals_the_model_that_was_saved(tmp_path):
    torch = pytest.importorskip("torch", reason="torch runs .safetensors")
    from ghostyolo.models import build_model
    from ghostyolo.models.weights import save_checkpoint

    torch.manual_seed(0)
    model = build_model("yolov13n-ghostnetv3", num_classes=4).eval()
    save_checkpoint(model, metadata(deployed=False), tmp_path / "model.safetensors")
    engine = open_engine(tmp_path / "model.safetensors", threads=1)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        boxes, scores = model(images)
    found_boxes, found_scores = engine(images.numpy())
    np.testing.assert_allclose(found_boxes, boxes, atol=1e-2)
    np.testing.assert_allclose(found_scores, scores, atol=1e-4)
    folded = sum(parameter.numel() for parameter in engine.model.parameters())
    assert folded < sum(parameter.numel() for parameter in model.parameters())

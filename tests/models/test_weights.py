"""Checkpoints round-trip, and a file that is not one is refused with one line and never unpickled."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from ghostyolo.errors import WeightsError
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.models import build_model
from ghostyolo.models.weights import load_checkpoint, read_checkpoint, save_checkpoint
from ghostyolo.nn.reparam import fold, is_folded


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("yolov13n-ghostnetv3", num_classes=2, branches=1).eval()


@pytest.fixture
def metadata():
    return ModelMetadata(model="yolov13n-ghostnetv3", class_names=["a", "b"], imgsz=64)


def outputs(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return model(torch.rand(1, 3, 64, 96, generator=generator))


def test_a_checkpoint_rebuilds_the_network(model, metadata, tmp_path):
    save_checkpoint(model, metadata, tmp_path / "m.safetensors")
    loaded, read = load_checkpoint(tmp_path / "m.safetensors")
    assert (read.class_names, read.imgsz) == (["a", "b"], 64)
    for ours, theirs in zip(outputs(loaded), outputs(model), strict=True):
        assert torch.equal(ours, theirs)


def test_half_precision_halves_the_file_and_keeps_the_answers_close(model, metadata, tmp_path):
    save_checkpoint(model, metadata, tmp_path / "full.safetensors")
    save_checkpoint(model, metadata, tmp_path / "half.safetensors", half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.56 * (tmp_path / "full.safetensors").stat().st_size
    loaded, _ = load_checkpoint(tmp_path / "half.safetensors")
    boxes, scores = outputs(loaded)
    expected_boxes, expected_scores = outputs(model)
    torch.testing.assert_close(boxes, expected_boxes, atol=0.5, rtol=0)
    torch.testing.assert_close(scores, expected_scores, atol=1e-2, rtol=0)


def test_a_folded_checkpoint_is_loaded_folded(model, metadata, tmp_path):
    deployed = metadata.model_copy(update={"deployed": True})
    save_checkpoint(fold(model), deployed, tmp_path / "folded.safetensors")
    loaded, _ = load_checkpoint(tmp_path / "folded.safetensors")
    assert is_folded(loaded)
    torch.testing.assert_close(outputs(loaded)[0], outputs(model)[0], atol=1e-3, rtol=1e-4)


class Trap:
    """Pickled, it would run code on loading."""

    def __reduce__(self):
        return (pytest.fail, ("a weights file was unpickled",))


@pytest.mark.parametrize("name", ["evil.pt", "evil.pth", "evil.safetensors"])
def test_a_pickle_is_refused_without_unpickling(name, tmp_path):
    torch.save({"weights": Trap()}, tmp_path / name)
    with pytest.raises(WeightsError, match=r"pickle|not a safetensors"):
        load_checkpoint(tmp_path / name)


def test_damaged_and_foreign_files_are_refused(model, metadata, tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(WeightsError, match="does not exist"):
        load_checkpoint(path)
    save_checkpoint(model, metadata, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="truncated"):
        load_checkpoint(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="not written by ghostyolo"):
        load_checkpoint(path)
    save_file({"x": torch.zeros(1)}, path, metadata={METADATA_KEY: '{"model": 3}'})
    with pytest.raises(WeightsError, match="damaged or newer"):
        read_checkpoint(path)
    newer = json.loads(metadata.to_json()) | {"format_version": 99}
    save_file({"x": torch.zeros(1)}, path, metadata={METADATA_KEY: json.dumps(newer)})
    with pytest.raises(WeightsError, match="pip install -U"):
        read_checkpoint(path)


def test_weights_that_do_not_fit_their_declaration_are_refused(model, metadata, tmp_path):
    header = metadata.model_copy(update={"config": model.config.model_dump(mode="json")})
    save_file({"x": torch.zeros(1)}, tmp_path / "m.safetensors", metadata={METADATA_KEY: header.to_json()})
    with pytest.raises(WeightsError, match="does not fit its own declaration"):
        load_checkpoint(tmp_path / "m.safetensors")

"""Checkpoints round-trip, and a file that is not one is refused with one line and never unpickled."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from ghostyolo.errors import WeightsError
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.models import build_model
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.weights import load_checkpoint, read_checkpoint, save_checkpoint
from ghostyolo.nn.reparam import fold, is_folded
from tests.train import tiny  # noqa: F401  registers the parts of bare networks


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
    with pytest.raises(WeightsError, match="take a newer ghostyolo"):
        read_checkpoint(path)


# What a file header can say: text without lone surrogates, which no JSON reader takes.
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
HEADERS = st.builds(
    ModelMetadata,
    model=WORDS,
    version=WORDS,
    class_names=st.lists(WORDS, min_size=2, max_size=2),
    imgsz=st.integers(1, 10_000),
    mean=st.lists(NUMBERS, min_size=3, max_size=3),
    std=st.lists(NUMBERS, min_size=3, max_size=3),
    resize=st.sampled_from(["area", "bilinear"]),
    metrics=st.dictionaries(WORDS, st.one_of(NUMBERS, WORDS, st.none()), max_size=3),
)


@pytest.fixture(scope="module")
def small():
    """A network of a few kilobytes."""
    parts = {"backbone": "test-convs", "neck": "test-none", "head": {"type": "dfl", "bins": 4}}
    return build_model(DetectorConfig.from_dict(parts, "test"), num_classes=2).eval()


@given(metadata=HEADERS)
def test_any_metadata_that_is_written_is_read(small, metadata):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        save_checkpoint(small, metadata, path)
        tensors, header = read_checkpoint(path)
    config = small.config.model_dump(mode="json")
    assert header == metadata.model_copy(update={"config": config, "nms": True})
    assert all(torch.equal(tensors[name], tensor) for name, tensor in small.state_dict().items() if name in tensors)


def damage(whole: bytes, kind: str, place: float, value: int) -> bytes:
    """The bytes of a file, cut, or with one of them changed: its header's length, its header, its tensors."""
    end = 8 + int.from_bytes(whole[:8], "little")
    spans = {"length": (0, 8), "header": (8, end), "tensors": (end, len(whole)), "cut": (0, len(whole))}
    low, high = spans[kind]
    at = min(low + int(place * (high - low)), high - 1)
    return whole[:at] if kind == "cut" else whole[:at] + bytes([value]) + whole[at + 1 :]


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["length", "header", "header", "header", "tensors", "cut"]),
    place=st.floats(0, 1),
    value=st.integers(0, 255),
)
def test_a_damaged_file_is_refused_in_one_line_or_read(small, kind, place, value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        save_checkpoint(small, ModelMetadata(model="m", class_names=["a", "b"], imgsz=64), path)
        path.write_bytes(damage(path.read_bytes(), kind, place, value))
        try:
            network, _ = load_checkpoint(path)
        except WeightsError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
        else:
            assert isinstance(network, DetectionModel)


def places(value, path=()):
    """Where something stands in JSON: the keys that lead to it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


# Sizes stay small: a number that builds a network of gigabytes is no test.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=60)
@given(data=st.data(), value=ANYTHING, key=st.none() | WORDS)
def test_a_header_that_says_anything_else_is_refused_in_one_line_or_read(small, data, value, key):
    metadata = ModelMetadata(model="m", class_names=["a", "b"], imgsz=64)
    header = json.loads(metadata.model_copy(update={"config": small.config.model_dump(mode="json")}).to_json())
    *parents, last = data.draw(st.sampled_from(places(header)[1:]))
    holder = header
    for step in parents:
        holder = holder[step]
    if key is not None and isinstance(holder, dict):  # another key, or another value
        holder[key] = holder.pop(last)
    else:
        holder[last] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        tensors = {name: tensor for name, tensor in small.state_dict().items() if "num_batches" not in name}
        save_file(tensors, path, metadata={METADATA_KEY: json.dumps(header)})
        try:
            network, _ = load_checkpoint(path)
        except WeightsError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
        else:
            assert isinstance(network, DetectionModel)


def test_weights_that_do_not_fit_their_declaration_are_refused(model, metadata, tmp_path):
    header = metadata.model_copy(update={"config": model.config.model_dump(mode="json")})
    save_file({"x": torch.zeros(1)}, tmp_path / "m.safetensors", metadata={METADATA_KEY: header.to_json()})
    with pytest.raises(WeightsError, match="does not fit its own declaration"):
        load_checkpoint(tmp_path / "m.safetensors")

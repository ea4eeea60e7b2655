"""INT8 files of MNN: near the float network, smaller, and with the layers in float that were to stay so."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("MNN", reason="needs the mnn extra")
torch = pytest.importorskip("torch", reason="needs the train extra")

from ghostyolo.errors import ExportError  # noqa: E402
from ghostyolo.export.formats.mnn import (  # noqa: E402
    LayerParameters,
    encode,
    quantise,
    run_converter,
    write,
)
from ghostyolo.runtime.engines import open_engine  # noqa: E402
from tests.export import mobile  # noqa: E402


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "m.mnn"
    quantise(mobile.int8_job("mnn"), path, mobile.noise(), frozenset())
    return path


def convolutions(path):
    """Name -> whether its weights are int8, from MNN's own dump."""
    run_converter("-f", "MNN", "--modelFile", str(path), "--JsonFile", "m.json", folder=path.parent)
    operators = json.loads((path.parent / "m.json").read_text())["oplists"]
    layers = [one for one in operators if one["type"] in ("Convolution", "ConvolutionDepthwise")]
    return {one["name"]: one["main"].get("symmetricQuan") is not None for one in layers}


def test_int8_is_near_the_network_and_smaller(tmp_path, int8_file):
    engine = open_engine(int8_file)
    assert engine.metadata.export.precision == "int8"
    pixels, score = mobile.differences(engine)
    assert 0.001 < pixels < 4
    assert 0.001 < score < 0.25
    write(mobile.int8_job("mnn"), tmp_path / "f.mnn")
    assert int8_file.stat().st_size < 0.6 * (tmp_path / "f.mnn").stat().st_size  # the graph itself is half of it


def test_all_convolutions_but_those_to_keep_are_int8(tmp_path, int8_file):
    quantise(mobile.int8_job("mnn"), tmp_path / "m.mnn", mobile.noise(), frozenset({"head.box.0.2"}))
    everywhere, but_one = convolutions(int8_file), convolutions(tmp_path / "m.mnn")
    floats = [{name for name, is_int8 in found.items() if not is_int8} for found in (everywhere, but_one)]
    assert len(everywhere) - len(floats[0]) == sum(
        isinstance(module, torch.nn.Conv2d) for module in mobile.folded().modules()
    )
    assert len(floats[1] - floats[0]) == 1
    assert mobile.differences(open_engine(tmp_path / "m.mnn"))[0] < 4


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 2])
def test_files_of_any_size_and_of_larger_batches_are_quantised(tmp_path, batch):
    quantise(mobile.int8_job("mnn", batch), tmp_path / "m.mnn", mobile.noise(), frozenset())
    shapes = [(2, 3, 64, 64)] + ([(1, 3, 32, 96)] if batch is None else [])
    for shape in shapes:
        pixels, score = mobile.differences(open_engine(tmp_path / "m.mnn"), shape)
        assert pixels < 4
        assert score < 0.25


def test_nothing_left_to_quantise_is_refused(tmp_path):
    everything = frozenset(name for name, _ in mobile.folded().named_modules())
    with pytest.raises(ExportError, match="every convolution stays in float"):
        quantise(mobile.int8_job("mnn"), tmp_path / "m.mnn", mobile.noise(1), everything)
    assert not (tmp_path / "m.mnn").exists()


def test_parameters_are_the_protobuf_that_the_schema_says():
    found = encode([LayerParameters("a", "w", "b", 1.0, (0.5,), 2.0)])
    low = "ffffffffffffffffff01"  # -127 is 64 bits: 81 ff ff ff ff ff ff ff ff 01
    activation = lambda name, step: f"0a01{name}1008{step}20002881{low[:-4]}01307f"  # noqa: E731
    ends = [bytes.fromhex(activation("61", "1d0000803f")), bytes.fromhex(activation("62", "1d00000040"))]
    weight = bytes.fromhex(f"0a01771008{'1d0000003f'}2081{low[:-4]}01287f")
    layer = b"".join(bytes([tag, len(one)]) + one for tag, one in ((0x0A, ends[0]), (0x12, weight), (0x1A, ends[1])))
    quantisation = b"\x08\x02" + b"\x22" + bytes([len(layer)]) + layer
    algorithm = b"\x08\x00" + b"\x12" + bytes([len(quantisation)]) + quantisation
    assert found == b"\x0a\x050.0.0" + b"\x12" + bytes([len(algorithm)]) + algorithm


@pytest.mark.slow
def test_the_built_in_detector_keeps_its_ap_in_a_third_of_the_file(tmp_path, bccd):
    before, after, share = mobile.builtin_int8(tmp_path / ".mnn", "mnn", quantise, bccd)
    assert 100 * (before - after) < 1.0
    assert share < 0.30

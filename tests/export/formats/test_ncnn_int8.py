"""INT8 folders of ncnn's: ncnn computes with what is written, near the float network, in a fraction of its size."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ncnn", reason="needs the ncnn extra")
pytest.importorskip("pnnx", reason="needs the pnnx extra")
torch = pytest.importorskip("torch", reason="needs the train extra")

from ghostyolo.errors import ExportError  # noqa: E402
from ghostyolo.export.deployed import ExportJob  # noqa: E402
from ghostyolo.export.formats.ncnn import (  # noqa: E402  # noqa: E402
    Array,
    Layer,
    convert,
    quantise,
    quantise_layer,
    read_model,
    write_model,
)
from ghostyolo.runtime.engines import open_engine  # noqa: E402
from ghostyolo.runtime.engines.ncnn import BIN, PARAM  # noqa: E402
from tests.export import mobile  # noqa: E402


def job() -> ExportJob:
    return mobile.int8_job("ncnn")


@pytest.fixture(scope="module")
def float_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("float")
    convert(job(), folder)
    return folder


@pytest.fixture(scope="module")
def int8_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "m_ncnn"
    quantise(job(), path, mobile.noise(), frozenset())
    return path


def test_what_is_read_is_written_back_byte_by_byte(tmp_path, float_folder):
    layers = read_model(float_folder / PARAM, float_folder / BIN)
    write_model(layers, tmp_path / PARAM, tmp_path / BIN, half=False)
    assert (tmp_path / BIN).read_bytes() == (float_folder / BIN).read_bytes()
    texts = [(folder / PARAM).read_text().split() for folder in (tmp_path, float_folder)]
    assert texts[0] == texts[1]


def test_a_file_of_half_weights_is_not_read_as_another(tmp_path):
    convert(job(), tmp_path, half=True)
    with pytest.raises(ExportError, match="are not float32"):
        read_model(tmp_path / PARAM, tmp_path / BIN)


def test_a_truncated_file_is_not_read(tmp_path, float_folder):
    (tmp_path / BIN).write_bytes((float_folder / BIN).read_bytes()[:-8])
    with pytest.raises(ExportError, match="reach past the end"):
        read_model(float_folder / PARAM, tmp_path / BIN)


def test_int8_is_near_the_network_and_a_fraction_of_its_weights(int8_folder, float_folder):
    engine = open_engine(int8_folder)
    assert engine.metadata.export.precision == "int8"
    pixels, score = mobile.differences(engine)
    assert 0.001 < pixels < 4
    assert 0.001 < score < 0.25
    assert (int8_folder / BIN).stat().st_size < 0.35 * (float_folder / BIN).stat().st_size


def test_all_convolutions_but_those_to_keep_are_int8(tmp_path, int8_folder):
    quantise(job(), tmp_path / "m_ncnn", mobile.noise(), frozenset({"head.box.0.2"}))
    kinds = ("Convolution", "ConvolutionDepthWise")
    lines = [
        [line.split() for line in (folder / PARAM).read_text().splitlines() if line.startswith(kinds)]
        for folder in (int8_folder, tmp_path / "m_ncnn")
    ]
    scaled = [[any(field in ("8=1", "8=2") for field in line) for line in one] for one in lines]
    assert all(scaled[0])
    kept = [line for line, is_int8 in zip(lines[1], scaled[1], strict=True) if not is_int8]
    assert len(kept) == 1
    assert "0=16" in kept[0]  # 4 sides x 4 bins
    assert mobile.differences(open_engine(tmp_path / "m_ncnn"))[0] < 4


def test_nothing_left_to_quantise_is_refused(tmp_path):
    everything = frozenset(name for name, _ in mobile.folded().named_modules())
    with pytest.raises(ExportError, match="every convolution stays in float"):
        quantise(job(), tmp_path / "m_ncnn", mobile.noise(1), everything)
    assert not (tmp_path / "m_ncnn").exists()


def test_weights_and_scales_by_hand():
    weights = np.array([1.0, -2.0, 0.0, 0.0, 0.5, 0.25], np.float32)
    layer = Layer("Convolution", "c", ["a"], ["b"], {"0": "3", "1": "1", "6": "6"}, [Array(weights, tagged=True)])
    quantise_layer(layer, threshold=4.0)
    assert layer.arrays[0].values.tolist() == [64, -127, 0, 0, 127, 64]  # 127 / 2, any, 127 / 0.5 a step
    np.testing.assert_allclose(layer.arrays[1].values, [63.5, 1.0, 254.0])
    np.testing.assert_allclose(layer.arrays[2].values, [31.75])
    assert layer.parameters["8"] == "2"
    assert layer.arrays[0].to_bytes(half=True)[:4].hex() == "384b0d00"
    assert len(layer.arrays[0].to_bytes(half=True)) == 4 + 8  # six bytes, padded to eight


def test_a_depthwise_layer_has_a_scale_for_each_group_and_a_silent_input_any():
    weights = np.array([1.0, -2.0, 0.5, 0.25], np.float32)
    parameters = {"0": "2", "1": "1", "6": "4", "7": "2"}
    layer = Layer("ConvolutionDepthWise", "c", ["a"], ["b"], parameters, [Array(weights, tagged=True)])
    quantise_layer(layer, threshold=0.0)
    np.testing.assert_allclose(layer.arrays[1].values, [63.5, 254.0])
    assert layer.arrays[2].values.tolist() == [1.0]
    assert layer.parameters["8"] == "1"


@pytest.mark.slow
def test_the_built_in_detector_keeps_its_ap_in_a_third_of_the_file(tmp_path, bccd):
    before, after, share = mobile.builtin_int8(tmp_path / "_ncnn", "ncnn", quantise, bccd)
    assert 100 * (before - after) < 1.0
    assert share < 0.30

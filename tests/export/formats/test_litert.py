"""LiteRT files give the network's answers, carry their metadata, and damaged or foreign ones get one line."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from ghostyolo.errors import ConfigError, ExportError, WeightsError
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.exporter import export_network
from ghostyolo.export.formats.litert import write
from ghostyolo.export.options import ExportOptions
from ghostyolo.metadata import ExportInfo, ModelMetadata
from ghostyolo.runtime.engines import open_engine
from tests.export import exported_files as files

pytest.importorskip("litert_torch", reason="needs ghostyolo[litert-export]")
pytest.importorskip("ai_edge_litert", reason="needs ghostyolo[litert]")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return files.export(tmp_path_factory.mktemp("litert") / "m.tflite", "litert")


def test_a_file_answers_as_the_network_does(path):
    files.assert_answers_as_the_network(path, "litert")


def test_the_check_at_export_ran_the_file(path):
    report = files.parity_report(path)
    assert report["engine"] == "litert"
    assert report["pixels"] < 1e-3


def test_half_weights_make_a_smaller_file_with_nearly_the_same_answers(path, tmp_path):
    half = files.export(tmp_path / "m.tflite", "litert", precision="fp16")
    assert files.parity_report(half)["precision"] == "fp16"
    images = np.random.default_rng(0).random((1, 3, files.HEIGHT, files.WIDTH), dtype=np.float32)
    boxes, scores = open_engine(path)(images)
    half_boxes, half_scores = open_engine(half)(images)
    assert 0 < np.abs(half_boxes - boxes).max() < 0.5
    assert np.abs(half_scores - scores).max() < 0.01


def test_any_unzip_program_shows_the_metadata(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["ghostyolo.json"]
        assert ModelMetadata.from_json(archive.read("ghostyolo.json").decode(), "m").export.format == "litert"


class Outputs(nn.Module):
    """Twelve outputs of one shape, in an order that neither names nor sizes give away."""

    def forward(self, images):
        return tuple(images.mean((2, 3)) * number for number in (3, 1, 2, 5, 4, 7, 6, 9, 8, 11, 12, 10))


def test_outputs_come_in_the_order_that_the_network_gives_them(tmp_path):
    names = [f"level_{number}" for number in range(12)]
    metadata = files.METADATA.model_copy(
        update={"export": ExportInfo(format="litert", batch=1, height=32, width=32, output="raw", outputs=names)}
    )
    write(ExportJob(Outputs(), metadata, ExportOptions(imgsz=32)), tmp_path / "m.tflite")
    images = np.ones((1, 3, 32, 32), np.float32)
    outputs = open_engine(tmp_path / "m.tflite").run(images)
    assert [round(float(one.mean())) for one in outputs] == [3, 1, 2, 5, 4, 7, 6, 9, 8, 11, 12, 10]


def test_raw_maps_are_named_after_their_strides(tmp_path):
    files.assert_outputs_keep_their_order(tmp_path / "m.tflite", "litert")


def test_an_operator_that_it_lacks_is_named_with_its_layer(tmp_path):
    with pytest.raises(ExportError, match=r"no operator ghostyolotest\.twist, which layer 'neck\.twisting' needs"):
        export_network(files.network("test-twist"), files.METADATA, tmp_path / "m.tflite", "litert")
    assert not list(tmp_path.iterdir())


def test_a_truncated_file_and_one_that_is_none_are_damaged(path, tmp_path):
    for name, content in (("cut", path.read_bytes()[:3000]), ("text", b"no model"), ("empty", b"")):
        bad = tmp_path / f"{name}.tflite"
        bad.write_bytes(content)
        with pytest.raises(WeightsError, match="truncated, damaged or not a TFLite file") as caught:
            open_engine(bad)
        assert "\n" not in str(caught.value)


def test_a_file_of_another_author_is_refused(tmp_path):
    import litert_torch

    from ghostyolo.silence import silence

    with silence():
        litert_torch.convert(nn.ReLU(), (torch.zeros(1, 4),)).export(str(tmp_path / "m.tflite"))
    with pytest.raises(WeightsError, match="was not written by ghostyolo"):
        open_engine(tmp_path / "m.tflite")


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_file_runs_where_standard_output_is_closed(path):
    files.assert_runs_with_closed_output(path)


@pytest.mark.slow
def test_nothing_reaches_the_console(tmp_path):
    assert files.console_of_an_export(tmp_path / "m.tflite", "litert") == "done"


def test_another_size_is_refused_with_the_one_it_takes(path):
    with pytest.raises(ConfigError, match="takes 96 x 64 pixels only, not 32 x 32"):
        open_engine(path)(np.zeros((1, 3, 32, 32), np.float32))

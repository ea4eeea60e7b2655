"""TorchScript files give the network's answers, carry their metadata, and damaged or foreign ones get one line."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest
import torch

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.runtime.engines import open_engine
from tests.export import exported_files as files


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return files.export(tmp_path_factory.mktemp("torchscript") / "m.torchscript", "torchscript")


def test_a_file_answers_as_the_network_does(path):
    files.assert_answers_as_the_network(path, "torchscript")


def test_a_file_of_batch_2_takes_three_pictures(tmp_path):
    path = files.export(tmp_path / "m.torchscript", "torchscript", batch=2)
    files.assert_answers_as_the_network(path, "torchscript", batch=2)


def test_the_check_at_export_ran_the_file(path):
    report = files.parity_report(path)
    assert report["engine"] == "torchscript"
    assert report["pixels"] < 1e-3


def test_raw_maps_are_named_after_their_strides(tmp_path):
    files.assert_outputs_keep_their_order(tmp_path / "m.torchscript", "torchscript")


def test_another_size_is_refused_with_the_one_it_takes(path):
    with pytest.raises(ConfigError, match="takes 96 x 64 pixels only, not 32 x 32"):
        open_engine(path)(np.zeros((1, 3, 32, 32), np.float32))


@pytest.mark.parametrize("options", [{"dynamic": True}, {"precision": "fp16"}, {"output": "nms"}, {"opset": 18}])
def test_what_the_format_cannot_hold_is_refused(tmp_path, options):
    with pytest.raises(ConfigError, match="torchscript"):
        files.export(tmp_path / "m.torchscript", "torchscript", **options)


def test_a_truncated_file_and_one_that_is_no_archive_are_damaged(path, tmp_path):
    for name, content in (("cut", path.read_bytes()[:3000]), ("text", b"no archive"), ("empty", b"")):
        bad = tmp_path / f"{name}.torchscript"
        bad.write_bytes(content)
        with pytest.raises(WeightsError, match="truncated, damaged or not a TorchScript file") as caught:
            open_engine(bad)
        assert "\n" not in str(caught.value)


def test_a_damaged_program_with_our_metadata_is_damaged(path, tmp_path):
    bad = tmp_path / "m.torchscript"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(bad, "w") as copy:
        for name in source.namelist():
            copy.writestr(name, b"nonsense" if name.endswith("data.pkl") else source.read(name))
    with pytest.raises(WeightsError, match="truncated, damaged") as caught:
        open_engine(bad)
    assert "\n" not in str(caught.value)


def test_a_program_of_another_author_is_refused_before_any_of_it_runs(tmp_path, monkeypatch):
    bad = tmp_path / "m.torchscript"
    torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)).save(str(bad))
    monkeypatch.setattr(torch.jit, "load", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(WeightsError, match="was not written by ghostyolo"):
        open_engine(bad)


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_file_runs_where_standard_output_is_closed(path):
    files.assert_runs_with_closed_output(path)


@pytest.mark.slow
def test_nothing_reaches_the_console(tmp_path):
    assert files.console_of_an_export(tmp_path / "m.torchscript", "torchscript") == "done"

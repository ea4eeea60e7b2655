"""ExecuTorch programs give the network's answers, carry their metadata, and damaged or foreign ones get one line."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest
import torch

from ghostyolo.errors import ConfigError, ExportError, WeightsError
from ghostyolo.export.exporter import export_network
from ghostyolo.runtime.engines import open_engine
from tests.export import exported_files as files

pytest.importorskip("executorch", reason="needs ghostyolo[executorch]")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return files.export(tmp_path_factory.mktemp("executorch") / "m.pte", "executorch")


def test_a_program_answers_as_the_network_does(path):
    files.assert_answers_as_the_network(path, "executorch")


def test_the_check_at_export_ran_the_program(path):
    report = files.parity_report(path)
    assert report["engine"] == "executorch"
    assert report["pixels"] < 1e-3


def test_raw_maps_are_named_after_their_strides(tmp_path):
    files.assert_outputs_keep_their_order(tmp_path / "m.pte", "executorch")


def test_threads_can_be_set_while_no_network_is_loaded(path):
    """The pool is the process's, and a loaded network points into it."""
    engine = open_engine(path, threads=2)
    with pytest.raises(ConfigError, match="ExecuTorch has 2 threads in this process"):
        open_engine(path, threads=1)
    open_engine(path, threads=2)
    del engine
    gc.collect()
    open_engine(path, threads=1)


def test_an_operator_that_it_lacks_is_named_with_its_layer(tmp_path):
    with pytest.raises(ExportError, match=r"no operator ghostyolotest\.twist, which layer 'neck\.twisting' needs"):
        export_network(files.network("test-twist"), files.METADATA, tmp_path / "m.pte", "executorch")
    assert not list(tmp_path.iterdir())


def test_a_truncated_program_and_one_that_is_none_are_damaged(path, tmp_path):
    for name, content in (("cut", path.read_bytes()[:3000]), ("text", b"no program"), ("empty", b"")):
        bad = tmp_path / f"{name}.pte"
        bad.write_bytes(content)
        with pytest.raises(WeightsError, match="truncated, damaged or not an ExecuTorch program") as caught:
            open_engine(bad)
        assert "\n" not in str(caught.value)


def test_a_program_of_another_author_is_refused(tmp_path):
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(torch.nn.ReLU(), (torch.zeros(1),))
    (tmp_path / "m.pte").write_bytes(to_edge_transform_and_lower(program).to_executorch().buffer)
    with pytest.raises(WeightsError, match="was not written by ghostyolo"):
        open_engine(tmp_path / "m.pte")


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_file_runs_where_standard_output_is_closed(path):
    files.assert_runs_with_closed_output(path)


@pytest.mark.slow
def test_nothing_reaches_the_console(tmp_path):
    assert files.console_of_an_export(tmp_path / "m.pte", "executorch") == "done"


def test_another_size_is_refused_with_the_one_it_takes(path):
    with pytest.raises(ConfigError, match="takes 96 x 64 pixels only, not 32 x 32"):
        open_engine(path)(np.zeros((1, 3, 32, 32), np.float32))

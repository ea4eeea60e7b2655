"""A detector as a folder of ncnn's: exported, loaded, run and compared."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("ncnn", reason="needs the ncnn extra")
pytest.importorskip("pnnx", reason="needs the pnnx extra")
torch = pytest.importorskip("torch", reason="needs the train extra")

import ghostyolo  # noqa: E402
from ghostyolo.errors import ConfigError, ExportError, WeightsError  # noqa: E402
from ghostyolo.export.deployed import ExportJob  # noqa: E402
from ghostyolo.export.formats.ncnn import write  # noqa: E402
from ghostyolo.export.options import ExportOptions  # noqa: E402
from ghostyolo.runtime.engines import open_engine  # noqa: E402
from ghostyolo.runtime.engines.ncnn import BIN, DESCRIPTION, PARAM  # noqa: E402
from ghostyolo.runtime.weights import assets_folder  # noqa: E402
from tests.export import mobile  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("ncnn") / "m_ncnn"
    return path, mobile.export(path, "ncnn")


@pytest.fixture
def copied(exported, tmp_path):
    return shutil.copytree(exported[0], tmp_path / "m_ncnn")


def test_a_folder_answers_as_the_network(exported):
    path, result = exported
    assert sorted(file.name for file in path.iterdir()) == [DESCRIPTION, BIN, PARAM]
    for given in (path, path / PARAM):
        pixels, score = mobile.differences(open_engine(given))
        assert pixels < 0.01
        assert score < 1e-4
    assert result.parity.engine == "ncnn"
    assert result.parity.detections == result.parity.matched > 0


def test_a_batch_is_run_picture_by_picture(exported):
    assert mobile.differences(open_engine(exported[0]), (3, 3, 64, 64))[0] < 0.01
    with pytest.raises(ConfigError, match="takes 64 x 64 pixels only, not 96 x 32"):
        mobile.differences(open_engine(exported[0]), (1, 3, 32, 96))


def test_the_folder_says_what_it_is(exported):
    metadata = open_engine(exported[0]).metadata
    assert metadata.class_names == ["red", "green"]
    assert (metadata.export.format, metadata.export.batch, metadata.export.canvas) == ("ncnn", 1, (64, 64))


def test_a_canvas_that_is_not_square(tmp_path):
    mobile.export(tmp_path / "w_ncnn", "ncnn", imgsz=(32, 96))
    assert mobile.differences(open_engine(tmp_path / "w_ncnn"), (1, 3, 32, 96))[0] < 0.01


def test_half_storage_is_half_the_weights_and_near_the_network(tmp_path, exported):
    mobile.export(tmp_path / "h_ncnn", "ncnn", precision="fp16")
    pixels, score = mobile.differences(open_engine(tmp_path / "h_ncnn"))
    assert 0 < pixels < 0.5
    assert 0 < score < 0.05
    assert (tmp_path / "h_ncnn" / BIN).stat().st_size < 0.55 * (exported[0] / BIN).stat().st_size


def test_raw_maps_are_decoded_by_the_engine(tmp_path):
    mobile.export(tmp_path / "r_ncnn", "ncnn", output="raw")
    engine = open_engine(tmp_path / "r_ncnn")
    assert engine.export.outputs == ["level_8", "level_16", "level_32"]
    pixels, score = mobile.differences(engine)
    assert pixels < 0.01
    assert score < 1e-4


def test_one_and_many_threads_agree(exported):
    for threads in (1, 2):
        assert mobile.differences(open_engine(exported[0], threads=threads))[0] < 0.01


def test_a_picture_is_predicted(exported):
    picture = min((assets_folder() / "pictures").glob("*.jpg"))
    assert len(list(ghostyolo.load(exported[0]).predict(picture, confidence=0.01))) == 1


def test_a_folder_in_the_working_folder_is_found_by_its_name(copied, monkeypatch):
    monkeypatch.chdir(copied.parent)
    assert ghostyolo.load("m_ncnn").engine.name == "ncnn"


@pytest.mark.parametrize("name", [PARAM, BIN])
@pytest.mark.parametrize("kept", [0, 30, 0.5, 0.98])
def test_a_truncated_file_is_one_line(copied, name, kept, capfd):
    whole = (copied / name).read_bytes()
    (copied / name).write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(WeightsError, match=f"{name} is not the file that was exported: truncated, damaged"):
        open_engine(copied)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", [PARAM, BIN, DESCRIPTION])
def test_a_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(WeightsError, match=name if name != PARAM else r"\.param"):
        open_engine(copied)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"ghostyolo": {}, "files": 3}', '{"ghostyolo": 1, "files": {}}'])
def test_a_damaged_description_is_one_line(copied, text):
    (copied / DESCRIPTION).write_text(text)
    with pytest.raises(WeightsError) as caught:
        open_engine(copied)
    assert len(str(caught.value).splitlines()) == 1


def test_batches_and_open_sizes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="ncnn takes one picture at a time: leave out --batch 4"):
        mobile.export(tmp_path / "m_ncnn", "ncnn", batch=4)
    with pytest.raises(ConfigError, match="ncnn files have one size and batch"):
        mobile.export(tmp_path / "m_ncnn", "ncnn", dynamic=True)


class Odd(torch.nn.Module):
    names = ("boxes",)

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3)
        self.second = torch.nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images):
        return (torch.special.erfinv(self.first(images)) + self.second(self.first(images)),)


def test_an_operator_that_ncnn_lacks_is_named_with_its_layer(tmp_path):
    metadata = mobile.confident_model()[1]
    job = ExportJob(Odd().eval(), metadata, ExportOptions())
    with pytest.raises(ExportError, match=r"ncnn has no operator aten::erfinv \(layer pnnx_\d+, after first\)"):
        write(job, tmp_path / "x_ncnn")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_built_in_detector_keeps_its_detections(tmp_path, precision):
    result = mobile.export_builtin(tmp_path / "b_ncnn", "ncnn", precision=precision)
    assert result.parity.matched == result.parity.detections == result.parity.found
    assert result.megabytes < {"fp32": 10, "fp16": 5}[precision]

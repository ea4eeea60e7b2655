"""``ghostyolo export --precision int8`` end to end in this process, with a detector of a few thousand weights."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import typer.main

from ghostyolo.errors import ConfigError, DataError, ParityError, SourceError
from ghostyolo.models.weights import save_checkpoint
from ghostyolo.runtime.engines import open_engine
from tests.train import tiny


@pytest.fixture
def export(tmp_path):
    """Run the command on a checkpoint; called with what follows ``--weights``."""
    from ghostyolo.cli import main

    if not main.app.registered_commands:
        main._register()
    command = typer.main.get_command(main.app)
    save_checkpoint(*tiny.model_and_metadata(), tmp_path / "w.safetensors")
    tiny.write_yolo(tiny.squares(tmp_path / "data"))

    def run(*arguments: object) -> None:
        given = ["export", "--weights", tmp_path / "w.safetensors", "--precision", "int8", *arguments]
        command.main([str(word) for word in given], standalone_mode=False)

    return run


def test_a_data_set_gives_calibration_and_ap(export, tmp_path, capsys):
    export("--data", tmp_path / "data", "--calibration-images", 3, "--static")
    report = json.loads((tmp_path / "w.onnx.int8.json").read_text())
    assert report["calibration_images"] == 3
    assert report["ap_drop_points"] <= 1.0
    assert report["megabytes"] > 0
    assert open_engine(tmp_path / "w.onnx").metadata.export.precision == "int8"
    printed = capsys.readouterr().out
    assert "of fp32's" in printed
    assert "AP " in printed


def test_a_file_that_loses_too_much_is_kept_aside_with_its_report(export, tmp_path, monkeypatch):
    def average_precision(path, labelled):
        return 0.5 if "float" in path.parts[-2] else 0.4

    monkeypatch.setattr("ghostyolo.export.quantise.quantiser._average_precision", average_precision)
    with pytest.raises(
        ParityError, match=r"loses 10\.00 points of AP in INT8 \(allowed 1\).*--set qat=true"
    ) as failure:
        export("--data", tmp_path / "data", "--static")
    assert failure.value.exit_status == 3
    assert not (tmp_path / "w.onnx").exists()
    assert (tmp_path / "failed-w.onnx").is_file()
    report = json.loads((tmp_path / "failed-w.onnx.int8.json").read_text())
    assert report["ap_drop_points"] == pytest.approx(10)
    assert len(report["trials"]) > 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((), ConfigError, "precision int8 needs pictures to calibrate on: give --data D, or --calibration FOLDER"),
        (("--calibration", "absent"), SourceError, "absent does not exist"),
        (("--data", "absent"), DataError, "absent does not exist"),
        (("--calibration", ".", "--calibration-images", "0"), ConfigError, "at least 1 picture"),
        (("--calibration", ".", "--max-drop", "-1"), ConfigError, "max_drop must be 0 or more"),
    ],
)
def test_wrong_input_is_one_line(export, tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path / "data" / "val")
    with pytest.raises(error, match=message) as failure:
        export(*arguments)
    assert len(str(failure.value).splitlines()) == 1
    assert not (tmp_path / "w.onnx").exists()

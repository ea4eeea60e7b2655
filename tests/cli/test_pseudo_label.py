"""``ghostyolo pseudo-label`` as a user types it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from ghostyolo.data.formats import load_dataset
from ghostyolo.errors import ConfigError, GhostYoloError, OutputError
from tests.runtime.colour_model import BLUE, CLASS_NAMES, GREEN, MODEL_PATH, RED, picture


@pytest.fixture
def invoke():
    """Run the command in this process: its output; our errors are raised."""
    import typer
    from typer.testing import CliRunner

    from ghostyolo.cli.pseudo_label import pseudo_label

    app = typer.Typer()
    app.command()(pseudo_label)

    def run(*args: object) -> str:
        result = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "160"})
        if isinstance(result.exception, GhostYoloError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def pictures(tmp_path):
    """a: red and blue, score 1; b: green, score 0.62; c: black; torn: no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(picture(128, 128, (0, 0, RED), (2, 3, BLUE))).save(folder / "a.png")
    Image.fromarray(np.rint(picture(128, 128, (1, 1, GREEN)) * 0.62).astype(np.uint8)).save(folder / "b.png")
    Image.fromarray(picture(128, 128)).save(folder / "c.png")
    (folder / "torn.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def labelled(tmp_path):
    root = tmp_path / "labelled"
    for split, column in (("train", 0), ("val", 1)):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        Image.fromarray(picture(128, 128, (column, 3, RED))).save(root / "images" / split / "x.png")
        (root / "labels" / split / "x.txt").write_text(f"0 {(column + 0.5) / 4} 0.875 0.25 0.25\n")
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {json.dumps(CLASS_NAMES)}\n")
    return root


def test_pictures_in_data_set_and_counts_out(invoke, pictures, labelled, tmp_path):
    out = tmp_path / "out"
    output = invoke("--weights", MODEL_PATH, pictures, "--add-to", labelled, "--out", out, "--background", 0.1)
    assert "scores from 0.6: 1, 0.9: 2" in output
    assert "2 pictures labelled, 1 kept as background" in output
    assert "beside the labelled data: 1 train, 1 val" in output
    assert "skipped torn.png" in output
    assert f"written: {out}" in output
    data = load_dataset(out)
    assert [len(data.splits[split]) for split in ("train", "val")] == [4, 1]
    assert json.loads((out / "report.json").read_text())["weights"] == str(MODEL_PATH)


def test_options_decide_what_is_labelled(invoke, pictures, tmp_path):
    args = ["--weights", MODEL_PATH, pictures, "--batch", 2, "--threads", 1]
    invoke(*args, "--conf", 0.9, "--class-conf", "green=0.5", "--class-conf", "blue=1", "--out", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["boxes"]["classes"] == {"red": 1, "green": 1, "blue": 0, "white": 0}
    assert report["class_confidence"] == {"green": 0.5, "blue": 1.0}


def test_an_earlier_result_with_a_higher_threshold(invoke, pictures, tmp_path):
    invoke("--weights", MODEL_PATH, pictures, "--out", tmp_path / "first")
    output = invoke("--from", tmp_path / "first", "--conf", 0.7, "--link", "--out", tmp_path / "second")
    assert "1 pictures labelled" in output
    (record,) = load_dataset(tmp_path / "second").splits["train"]
    assert record.labels.tolist() == [RED, BLUE]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pictures"], "give --weights and pictures to label, or --from"),
        (["--weights", MODEL_PATH], "give --weights and pictures to label, or --from"),
        (["--from", "first", "pictures"], "leave SOURCE, --weights, --add-to and --background out"),
        (["--weights", MODEL_PATH, "pictures", "--class-conf", "0.7"], "must be NAME=CONF"),
        (["--weights", MODEL_PATH, "pictures", "--class-conf", "red=much"], "must be NAME=CONF"),
    ],
)
def test_what_cannot_be_meant_is_one_line(invoke, tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        invoke(*arguments, "--out", tmp_path / "out")


def test_an_existing_folder_is_refused_before_weights_are_opened(invoke, pictures, tmp_path):
    with pytest.raises(OutputError, match="pictures exists: choose a new folder"):
        invoke("--weights", "nowhere.onnx", pictures, "--out", pictures)


def test_the_result_trains_at_once(invoke, pictures, labelled, tmp_path):
    pytest.importorskip("torch", reason="training needs the train extra")
    from ghostyolo.train.detection.start import train_detector
    from tests.train import tiny

    invoke("--weights", MODEL_PATH, pictures, "--add-to", labelled, "--out", tmp_path / "both")
    result = train_detector(tmp_path / "both", tiny.CONFIG, out=tmp_path / "run", options={**tiny.RECIPE, "epochs": 1})
    assert result.best.is_file()
    assert len(result.rows) == 1

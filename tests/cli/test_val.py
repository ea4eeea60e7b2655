"""``ghostyolo val`` on pictures of coloured squares, with the handmade ONNX detector that finds them."""

from __future__ import annotations

import json
import re

import cv2
import pytest
import typer
from typer.testing import CliRunner

from ghostyolo.cli.val import val
from ghostyolo.errors import ConfigError, DataError, OutputError, WeightsError
from tests.runtime.colour_model import BLUE, CLASS_NAMES, GREEN, MODEL_PATH, RED, picture

KEYS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "per_class", "AP_interval", "best"]


@pytest.fixture
def data(tmp_path):
    """YOLO data of pictures twice the network's 128 pixels, so that its 32-pixel cells are squares of 64.

    A red and a blue square, a green and a red one in a picture half as high, and a black picture.
    """
    root = tmp_path / "squares"
    pictures = {
        "both": (
            picture(128, 128, (0, 0, RED), (2, 3, BLUE)),
            "0 0.125 0.125 0.25 0.25\n2 0.625 0.875 0.25 0.25\n",
        ),
        "wide": (
            picture(128, 64, (3, 0, GREEN), (1, 1, RED)),
            "1 0.875 0.25 0.25 0.5\n0 0.375 0.75 0.25 0.5\n",
        ),
        "black": (picture(128, 128), ""),
    }
    for folder in ("images", "labels"):
        (root / folder / "val").mkdir(parents=True)
    (root / "data.yaml").write_text(f"path: .\nval: images/val\nnames: {CLASS_NAMES}\n")
    for name, (pixels, labels) in pictures.items():
        doubled = pixels.repeat(2, axis=0).repeat(2, axis=1)
        cv2.imwrite(str(root / "images" / "val" / f"{name}.png"), doubled[:, :, ::-1])
        (root / "labels" / "val" / f"{name}.txt").write_text(labels)
    return root


@pytest.fixture
def invoke():
    """Run the command in this process; errors of ours come out as they are."""
    app = typer.Typer()
    app.command()(val)

    def run(*args):
        return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)

    return run


def test_boxes_are_scored_in_the_pixels_of_the_original_pictures(invoke, data, tmp_path):
    out = tmp_path / "new" / "metrics.json"
    args = ("--weights", MODEL_PATH, "--data", data, "--json", out)
    assert invoke(*args, "--batch", 2, "--threads", 1).exit_code == 0
    metrics = json.loads(out.read_text())
    assert list(metrics) == KEYS
    # The squares are 64 x 64 pixels, COCO's medium; in the network's pixels they would be small.
    rates = dict.fromkeys(("precision", "recall", "f1"), 1.0)
    found = {"AP": 1.0, "AP50": 1.0, **rates, "confidence": 0.5}  # the middle: nothing else is found
    nothing = dict.fromkeys(found)
    assert metrics == {
        **dict.fromkeys(("AP", "AP50", "AP75", "APm", "AR100"), 1.0),
        "APs": None,
        "APl": None,
        "per_class": {"red": found, "green": found, "blue": found, "white": nothing},
        "AP_interval": None,  # of three pictures
        "best": {**rates, "confidence": 0.5},
    }


def test_the_table_has_a_row_for_all_and_for_each_class(invoke, data):
    output = invoke("--weights", MODEL_PATH, "--data", data).output
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]
    assert rows == [
        ["all", "3", "4", *["1.000"] * 5, "0.500"],
        ["red", "2", "2", *["1.000"] * 5, "0.500"],
        ["green", "1", "1", *["1.000"] * 5, "0.500"],
        ["blue", "1", "1", *["1.000"] * 5, "0.500"],
        ["white", "0", "0", *["-"] * 6],
    ]
    assert "AP75 1.000   AP small -   medium 1.000   large -   AR100 1.000" in output
    assert "ms per image (onnxruntime" in output


def test_wrong_labels_lower_the_figures(invoke, data, tmp_path):
    (data / "labels" / "val" / "wide.txt").write_text("0 0.125 0.25 0.25 0.5\n")
    out = tmp_path / "metrics.json"
    invoke("--weights", MODEL_PATH, "--data", data, "--json", out)
    # One of two red objects is found, before the wrong box: precision is 1 at the recalls 0, 0.01 .. 0.50.
    assert json.loads(out.read_text())["per_class"]["red"]["AP"] == pytest.approx(51 / 101)


def test_a_broken_picture_is_skipped_and_reported(invoke, data):
    broken = data / "images" / "val" / "wide.png"
    broken.write_bytes(broken.read_bytes()[:60])  # the header is whole, the pixels are not
    result = invoke("--weights", MODEL_PATH, "--data", data)
    assert result.exit_code == 0
    assert f"skipped {broken}" in result.output
    assert re.search(r"all\s*│\s*2\s*│\s*2\s*│", result.output)


def test_plots_are_written_to_the_folder(invoke, data, tmp_path):
    result = invoke("--weights", MODEL_PATH, "--data", data, "--plots", tmp_path / "plots")
    written = {"confusion_matrix.png", "pr_curves.png", "predictions.png", "worst.html"}
    assert {path.name for path in (tmp_path / "plots").iterdir()} == written
    assert all(name in result.output for name in written)


def test_classes_that_differ_are_an_error_and_no_file_appears(invoke, data, tmp_path):
    (data / "data.yaml").write_text("path: .\nval: images/val\nnames: [red, green, cyan, white]\n")
    with pytest.raises(ConfigError, match="'blue' is not in the data"):
        invoke("--weights", MODEL_PATH, "--data", data, "--json", tmp_path / "metrics.json")
    assert not (tmp_path / "metrics.json").exists()


def test_bad_options_are_errors_that_name_them(invoke, data, tmp_path):
    common = ("--weights", MODEL_PATH, "--data", data)
    with pytest.raises(DataError, match="nowhere"):
        invoke(*common, "--split", "nowhere")
    with pytest.raises(DataError, match="does not exist"):
        invoke("--weights", MODEL_PATH, "--data", tmp_path / "absent")
    with pytest.raises(WeightsError, match="absent"):
        invoke("--weights", tmp_path / "absent.onnx", "--data", data)
    with pytest.raises(ConfigError, match=r"imgsz .*65"):
        invoke(*common, "--imgsz", 65)
    with pytest.raises(ConfigError, match="confidence"):
        invoke(*common, "--conf", 2)
    with pytest.raises(OutputError, match="cannot write"):
        invoke(*common, "--json", MODEL_PATH / "metrics.json")
    assert invoke(*common, "--batch", 0).exit_code == 2


def test_the_installed_command_prints_one_line_and_exits_with_2(run_cli, tmp_path):
    done = run_cli("val", "--weights", MODEL_PATH, "--data", tmp_path / "absent")
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: .*absent does not exist.*\n", done.stderr)


def test_the_installed_command_scores(run_cli, data, tmp_path):
    out = tmp_path / "metrics.json"
    done = run_cli("val", "--weights", MODEL_PATH, "--data", data, "--json", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(out.read_text())["AP"] == 1.0
    assert "blue" in done.stdout


def test_a_loaded_file_scores_itself_alike(data):
    import ghostyolo

    metrics = ghostyolo.load(MODEL_PATH).val(data)
    assert pytest.approx(1.0) == metrics.AP
    assert ghostyolo.Detector(MODEL_PATH).val(data, batch=1) == metrics
    with pytest.raises(DataError):
        ghostyolo.load(MODEL_PATH).val(data, split="test")

"""``ghostyolo predict`` as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ghostyolo.errors import GhostYoloError
from tests.runtime.colour_model import BLUE, MODEL_PATH, RED, picture
from tests.runtime.videos import damage_frame, read_video, write_video


@pytest.fixture
def invoke():
    """Run the command in this process: (exit status, output); our errors are raised."""
    import typer
    from typer.testing import CliRunner

    from ghostyolo.cli.predict import predict

    app = typer.Typer()
    app.command()(predict)

    def run(*args: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "160"})
        if isinstance(result.exception, GhostYoloError):
            raise result.exception
        return result.exit_code, result.output

    return run


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(picture(128, 128, (0, 0, RED), (2, 3, BLUE))).save(folder / "a.png")
    Image.fromarray(picture(128, 128)).save(folder / "b.png")
    return folder


def test_folder_gives_pictures_table_and_files(invoke, pictures, tmp_path):
    status, output = invoke("--weights", MODEL_PATH, pictures, "--out", tmp_path / "out", "--json", "--csv", "--txt")
    assert status == 0
    assert "a.png" in output
    assert "onnxruntime" in output
    assert "2 objects on 2 pictures or frames: 1 " in output
    assert re.search(r"[\d.]+ ms a picture, [\d.]+ a second .*without the first call", output)
    assert str(tmp_path / "out") in output
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["a.png", "b.png", "detections.csv", "detections.json", "yolo/a.txt", "yolo/b.txt"]
    records = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [len(record["objects"]) for record in records] == [2, 0]


def test_each_run_has_a_folder_of_its_own_unless_it_is_given(invoke, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("predict", "predict-2", "predict-3"):
        _, output = invoke("--weights", MODEL_PATH, pictures)
        assert f"runs/{name}" in output
        assert (tmp_path / "runs" / name / "a.png").is_file()
    for _ in range(2):
        invoke("--weights", MODEL_PATH, pictures, "--out", "mine")
    assert not (tmp_path / "mine-2").exists()


def test_wanted_classes_and_the_best_few(invoke, pictures, tmp_path):
    args = ["--weights", MODEL_PATH, pictures, "--no-save", "--out", tmp_path / "out"]
    assert "1 objects on 2 pictures or frames: 1 blue" in invoke(*args, "--classes", "blue, 1")[1]
    assert "1 objects on 2 pictures" in invoke(*args, "--max-det", 1)[1]
    with pytest.raises(GhostYoloError, match="no class 'bleu': did you mean blue"):
        invoke(*args, "--classes", "bleu")


@pytest.mark.parametrize(("conf", "message"), [("auto", "hold no best confidence"), ("much", "is 'much'")])
def test_a_confidence_that_is_no_number(invoke, pictures, tmp_path, conf, message):
    with pytest.raises(GhostYoloError, match=message):
        invoke("--weights", MODEL_PATH, pictures, "--conf", conf, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_frames_are_counted_before_they_are_read(pictures, tmp_path):
    from ghostyolo.runtime.sources import Sources

    video = write_video(tmp_path / "v.mp4", [picture(128, 128)] * 5)
    assert Sources([pictures, video]).expected_frames == 7


def test_options_reach_the_predictor(invoke, pictures, tmp_path):
    # 64 canvas pixels for 128 of the picture: a coloured quarter of a cell scores a quarter.
    args = ["--weights", MODEL_PATH, pictures / "a.png", "--imgsz", 64, "--no-save", "--json", "--batch", 2]
    invoke(*args, "--conf", 0.2, "--threads", 1, "--out", tmp_path / "low")
    invoke(*args, "--conf", 0.3, "--out", tmp_path / "high")
    found = {
        name: json.loads((tmp_path / name / "detections.json").read_text())[0]["objects"] for name in ("low", "high")
    }
    assert (len(found["low"]), len(found["high"])) == (2, 0)
    assert not (tmp_path / "low" / "a.png").exists()


def test_video_in_annotated_video_out(invoke, tmp_path):
    video = write_video(tmp_path / "v.mp4", [picture(128, 128, (column, 1, RED)) for column in range(4)])
    _, output = invoke("--weights", MODEL_PATH, video, "--out", tmp_path / "out", "--json", "--batch", 3)
    assert "v.mp4 (4 frames)" in output
    frames, fps = read_video(tmp_path / "out" / "v.mp4")
    assert (len(frames), fps) == (4, 10)
    records = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [record["frame"] for record in records] == [0, 1, 2, 3]
    corners = [record["objects"][0]["box_xyxy"][0] for record in records]
    np.testing.assert_allclose(corners, [0, 32, 64, 96])


def test_broken_picture_in_a_folder_is_skipped_and_reported(invoke, pictures, tmp_path):
    (pictures / "aa.png").write_bytes(b"broken")
    (pictures / "sub").mkdir()
    (pictures / "sub" / "c.png").write_bytes((pictures / "b.png").read_bytes())
    status, output = invoke("--weights", MODEL_PATH, pictures, "--out", tmp_path / "out", "--json")
    assert status == 1
    assert "skipped aa.png" in output
    assert "1 of 3 sources were skipped" in output
    assert "passed over: 1 in subfolders" in output
    assert (tmp_path / "out" / "b.png").exists()
    records = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [Path(record["image"]).name for record in records] == ["a.png", "b.png", "aa.png"]
    assert "cannot be decoded" in records[-1]["error"]


def test_a_cut_video_says_how_many_frames_are_missing(invoke, pictures, tmp_path):
    video = damage_frame(write_video(tmp_path / "v.avi", [picture(128, 128, (1, 1, RED))] * 6), 3)
    status, output = invoke("--weights", MODEL_PATH, video, "--out", tmp_path / "out", "--json")
    assert status == 1
    assert "incomplete v.avi: 5 of 6 frames could be read" in output
    *frames, fault = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [record["frame"] for record in frames] == [0, 1, 2, 4, 5]
    assert (fault["frames_read"], fault["frames"], fault["objects"]) == (5, 6, [])
    assert len(read_video(tmp_path / "out" / "v.mp4")[0]) == 5


def test_an_address_that_cannot_be_fetched_does_not_cost_the_other_results(invoke, pictures, tmp_path):
    address = "http://127.0.0.1:9/my pic.jpg"
    status, output = invoke("--weights", MODEL_PATH, pictures / "a.png", address, "--out", tmp_path / "out", "--json")
    assert status == 1
    assert f"skipped my pic.jpg: {address} cannot be fetched" in output
    records = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [len(record["objects"]) for record in records] == [2, 0]
    assert records[1]["image"] == address


@pytest.mark.parametrize("closing", [">&-", ">&- 2>&-", "| head -c 0"])
def test_closed_standard_output_costs_no_results(pictures, tmp_path, closing):
    args = f'predict --weights "{MODEL_PATH}" "{pictures}" --json --out "{tmp_path / "out"}"'
    command = f'"{sys.executable}" -m ghostyolo.cli.main {args}'
    done = subprocess.run(f"{command} {closing}", shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())) == 2


@pytest.mark.parametrize("name", ["x" * 250 + ".png", "图" * 80 + ".png"])
def test_a_name_as_long_as_names_may_be_has_its_results(invoke, pictures, tmp_path, name):
    (pictures / "a.png").rename(pictures / name)
    status, _ = invoke("--weights", MODEL_PATH, pictures / name, "--out", tmp_path / "out", "--txt")
    assert status == 0
    assert sorted(path.suffix for path in (tmp_path / "out").rglob("*.*")) == [".png", ".txt"]


def test_long_lists_are_cut_but_counted(invoke, pictures, tmp_path):
    for index in range(30):
        (pictures / f"c{index:02}.png").write_bytes((pictures / "b.png").read_bytes())
    _, output = invoke("--weights", MODEL_PATH, pictures, "--out", tmp_path / "out", "--no-save")
    assert "... and 12 more" in output
    assert "2 objects on 32 pictures" in output
    assert "no files written" in output


def test_earlier_results_survive_a_mistyped_option(invoke, pictures, tmp_path):
    with pytest.raises(GhostYoloError, match="nearest valid one is 96"):
        invoke("--weights", MODEL_PATH, pictures, "--out", tmp_path / "out", "--imgsz", 100)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("weights", "source", "message"),
    [
        ("no-such", "a.png", "no weights named 'no-such'"),
        ("model.pt", "a.png", "is a pickle"),
        (MODEL_PATH, "absent.png", "absent.png does not exist"),
        (MODEL_PATH, "broken.mp4", "broken.mp4 cannot be read as a video"),
    ],
)
def test_mistakes_are_one_line_and_exit_status_2(type_cli, pictures, tmp_path, weights, source, message):
    (pictures / "broken.mp4").write_bytes(b"broken")
    done = type_cli("predict", "--weights", weights, pictures / source, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_tracks_of_a_video(invoke, tmp_path):
    pytest.importorskip("trackers")
    video = write_video(tmp_path / "clip.mp4", [picture(128, 128, (0, 0, RED))] * 4)
    status, _ = invoke(
        *("--weights", MODEL_PATH, video, "--track", "bytetrack", "--txt", "--no-save", "--out", tmp_path / "out"),
    )
    assert status == 0
    assert len((tmp_path / "out" / "mot" / "clip.txt").read_text().splitlines()) >= 3
    with pytest.raises(GhostYoloError, match="name a tracker"):
        invoke("--weights", MODEL_PATH, video, "--track-option", "a=1", "--out", tmp_path / "out")

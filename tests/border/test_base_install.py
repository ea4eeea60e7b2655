"""The device's install: no torch, and all that a device does still works. ``.ci/run`` makes an environment for it."""

from __future__ import annotations

import importlib.util
import json
import re

import cv2
import numpy as np
import pytest

from ghostyolo.extras import install_command
from tests.runtime.colour_model import BLUE, CELL, CLASS_NAMES, MODEL_PATH, RED, WHITE, picture

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is not None,
    reason="torch is installed: the base install is tested in an environment of its own (.ci/run)",
)


@pytest.fixture
def cells(tmp_path):
    """A YOLO data set that the colour model detects without a mistake, and its number of objects."""
    for name, objects in {
        "a": [(0, 0, RED), (2, 3, BLUE)],
        "b": [(1, 1, WHITE), (3, 0, RED)],
        "c": [],
    }.items():
        (tmp_path / "cells" / "images" / "val").mkdir(parents=True, exist_ok=True)
        (tmp_path / "cells" / "labels" / "val").mkdir(parents=True, exist_ok=True)
        image = picture(4 * CELL, 4 * CELL, *objects)
        cv2.imwrite(str(tmp_path / "cells" / "images" / "val" / f"{name}.png"), image[:, :, ::-1])
        rows = [f"{label} {(x + 0.5) / 4} {(y + 0.5) / 4} 0.25 0.25\n" for x, y, label in objects]
        (tmp_path / "cells" / "labels" / "val" / f"{name}.txt").write_text("".join(rows))
    (tmp_path / "cells" / "data.yaml").write_text(f"val: images/val\nnames: {json.dumps(CLASS_NAMES)}\n")
    return tmp_path / "cells"


def test_help_names_every_command(run_cli):
    done = run_cli("--help")
    assert done.returncode == 0, done.stderr
    for command in (
        "demo",
        "predict",
        "watch",
        "pseudo-label",
        "train",
        "val",
        "export",
        "benchmark",
        "fit",
        "models",
        "data",
    ):
        assert command in done.stdout


def test_demo_finds_digits(run_cli, tmp_path):
    done = run_cli("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "demo" / "detections.json").read_text())
    assert records
    assert sum(len(record["objects"]) for record in records) > 0


def test_pseudo_labels_join_labelled_data(run_cli, cells, tmp_path):
    (tmp_path / "new").mkdir()
    image = picture(4 * CELL, 4 * CELL, (1, 2, BLUE), (3, 3, RED))
    cv2.imwrite(str(tmp_path / "new" / "d.png"), image[:, :, ::-1])
    done = run_cli(
        "pseudo-label", "--weights", MODEL_PATH, tmp_path / "new", "--add-to", cells, "--out", tmp_path / "both"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "both" / "report.json").read_text())
    assert (report["boxes"]["all"], report["added_to"]) == (2, {"val": 3})


@pytest.mark.parametrize("name", ["bccd", "digits", "neu-det"])
def test_built_in_weights_run_by_name(run_cli, cells, tmp_path, name):
    done = run_cli(
        "predict", "--weights", name, cells / "images" / "val", "--json", "--no-save", "--out", tmp_path / "p"
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "p" / "detections.json").read_text())) == 3


def test_predict_writes_every_format(run_cli, cells, tmp_path):
    out = tmp_path / "out"
    done = run_cli(
        *("predict", "--weights", MODEL_PATH, cells / "images" / "val", "--out", out),
        *("--json", "--csv", "--txt"),
    )
    assert done.returncode == 0, done.stderr
    found = [len(record["objects"]) for record in json.loads((out / "detections.json").read_text())]
    assert found == [2, 2, 0]
    assert {path.name for path in out.iterdir()} == {
        *("a.png", "b.png", "c.png"),
        *("detections.csv", "detections.json", "yolo"),
    }


def test_watch_follows_and_counts_without_torch(run_cli, tmp_path):
    pytest.importorskip("trackers", reason='pip install --no-deps "trackers>=2.6"')
    writer = cv2.VideoWriter(str(tmp_path / "a.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (4 * CELL, 4 * CELL))
    for _ in range(6):
        writer.write(np.ascontiguousarray(picture(4 * CELL, 4 * CELL, (0, 0, RED))[:, :, ::-1]))
    writer.release()
    done = run_cli(
        *("watch", tmp_path / "a.mp4", "--weights", MODEL_PATH, "--every-frame", "--json", "-"),
        *("--zone", "0,0,0.5,0,0.5,0.5", "--video", tmp_path / "b.mp4"),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert (record["objects"][0]["track"], record["counts"][0]["count"]) == (0, 1)


def test_val_scores_a_perfect_detector_with_one(run_cli, cells, tmp_path):
    done = run_cli("val", "--weights", MODEL_PATH, "--data", cells, "--json", tmp_path / "val.json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "val.json").read_text())
    assert metrics["AP"] == pytest.approx(1)
    assert metrics["per_class"]["red"]["AP50"] == pytest.approx(1)


def test_exported_detectors_are_benchmarked_and_scored(run_cli, cells, tmp_path):
    done = run_cli(
        *("benchmark", "--weights", MODEL_PATH, "--weights", "digits", "--imgsz", "96", "--runs", "3", "--warmup", "0"),
        *("--threads", "1", "--json", tmp_path / "b.json"),
    )
    assert done.returncode == 0, done.stderr
    assert [row["model"] for row in json.loads((tmp_path / "b.json").read_text())] == ["colour_model.onnx", "digits"]
    done = run_cli(
        *("benchmark", "--weights", MODEL_PATH, "--data", cells, "--runs", "1", "--warmup", "0"),
        *("--json", tmp_path / "ap.json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "ap.json").read_text())[0]["AP"] == pytest.approx(1)


def test_fit_names_weights_within_a_budget(run_cli, tmp_path):
    done = run_cli(
        *("fit", "--target-ms", "100000", "--weights", "digits", "--sizes", "32,64", "--runs", "1", "--warmup", "0"),
        *("--json", tmp_path / "fit.json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "fit.json").read_text())["chosen"]["imgsz"] == 64


def test_data_check_reports_what_is_wrong(run_cli, cells, tmp_path):
    done = run_cli("data", "check", cells, "--json", tmp_path / "before.json")
    assert done.returncode == 0, done.stderr
    (cells / "images" / "val" / "c.png").write_bytes(b"broken")
    done = run_cli("data", "check", cells, "--json", tmp_path / "after.json")
    assert done.returncode == 1, done.stderr
    kinds = [problem["kind"] for problem in json.loads((tmp_path / "after.json").read_text())["problems"]]
    assert "unreadable-image" in kinds


def test_python_interface_predicts(cells):
    import ghostyolo

    (prediction,) = ghostyolo.load(MODEL_PATH).predict(cells / "images" / "val" / "a.png")
    assert sorted(prediction.detections.data["class_name"]) == ["blue", "red"]
    assert "yolov13n-ghostnetv3" in ghostyolo.list_models()


@pytest.mark.parametrize("name", ["add_branches", "fold"])
def test_what_needs_torch_in_the_python_interface_says_the_line_to_type(name):
    import ghostyolo
    from ghostyolo.errors import MissingExtraError

    line = f'{name} needs the "train" extra: {install_command("train")}'
    with pytest.raises(MissingExtraError, match=re.escape(line)):
        getattr(ghostyolo, name)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("train", "--data", "DATA", "--model", "yolov13n-ghostnetv3"), "train"),
        (("pretrain", "--data", "DATA", "--model", "ghostnetv3"), "train"),
        (("export", "--weights", "bccd"), "train"),
        (("models", "--imgsz", "320"), "train"),
        (("benchmark", "--model", "yolov8n"), "train"),
        (("benchmark", "--weights", "bccd", "--against", "ultralytics:yolo26n"), "ultralytics"),
        (("fit", "--target-ms", "30"), "train"),
        (("demo", "--train"), "train"),
        (("data", "digits", "--out", "digits"), "scenes"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else value,
)
def test_what_needs_more_says_the_line_to_type(run_cli, cells, tmp_path, arguments, extra):
    done = run_cli(*(cells if value == "DATA" else value for value in arguments), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(f'needs the "{extra}" extra: {install_command(extra)}\n')
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


def test_the_zoo_is_listed_without_torch(run_cli, tmp_path):
    done = run_cli("models", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "yolov8n-ghostnetv3" in {row["name"] for row in json.loads(done.stdout)}

"""``ghostyolo benchmark`` on handmade and tiny networks. Nothing here looks at how long anything took."""

from __future__ import annotations

import json

import cv2
import pytest

from ghostyolo import extras
from tests.runtime.colour_model import BLUE, CELL, CLASS_NAMES, MODEL_PATH, RED, picture

QUICK = ("--runs", 6, "--warmup", 1, "--threads", 1)
TINY = """\
backbone: {type: ghostnetv3, width: 0.25, branches: 1}
neck: {type: yolov8_pafpn, width: 0.125, depth: 1}
head: {type: dfl, bins: 4}
"""


@pytest.fixture
def squares(tmp_path):
    """One labelled picture that the colour model detects without a mistake."""
    root = tmp_path / "squares"
    for folder in ("images", "labels"):
        (root / folder / "val").mkdir(parents=True)
    image = picture(4 * CELL, 4 * CELL, (0, 0, RED), (2, 3, BLUE))
    cv2.imwrite(str(root / "images" / "val" / "a.png"), image[:, :, ::-1])
    (root / "labels" / "val" / "a.txt").write_text("0 0.125 0.125 0.25 0.25\n2 0.625 0.875 0.25 0.25\n")
    (root / "data.yaml").write_text(f"val: images/val\nnames: {CLASS_NAMES}\n")
    return root


def test_files_are_measured_side_by_side_and_scored(run_cli, squares, tmp_path):
    out = tmp_path / "new"
    pictures = ("--picture", out / "b.png")
    done = run_cli(
        *("benchmark", "--weights", MODEL_PATH, "--weights", MODEL_PATH, "--data", squares, *QUICK),
        *("--images", squares / "images" / "val", "--json", out / "b.json", "--markdown", out / "b.md", *pictures),
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1), done.stderr
    assert done.stderr.startswith("val: 2 class-without-objects")
    rows = json.loads((out / "b.json").read_text())
    assert len(rows) == 2
    for row in rows:
        facts = {key: row[key] for key in ("model", "engine", "precision", "threads", "imgsz", "batch", "runs", "AP")}
        assert facts == {
            "model": "colour_model.onnx", "engine": "onnxruntime", "precision": "fp32", "threads": 1, "imgsz": 128,
            "batch": 1, "runs": 6, "AP": 1.0,
        }  # fmt: skip
        assert 0 < row["median_ms"] <= row["p95_ms"]
        assert row["total_ms"] > row["median_ms"]
        assert row["macs_g"] is None
        assert row["machine"]["packages"]["onnxruntime"]
    assert rows[0]["ratio"] == 1
    assert rows[1]["ratio"] > 0
    assert "| colour_model.onnx | onnxruntime | fp32 | 128 |" in (out / "b.md").read_text()
    assert "Energy: " in done.stdout
    assert {path.name for path in out.iterdir()} == {"b.json", "b.md", *(path.name for path in pictures[1:])}


@pytest.mark.skipif(not extras.available("train"), reason="needs ghostyolo[train]")
@pytest.mark.parametrize(
    "engines", ["torch", pytest.param("torch,onnxruntime", marks=pytest.mark.slow)], ids=["fast", "exported"]
)
def test_an_untrained_network_is_built_and_measured(type_cli, tmp_path, engines):
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = type_cli(
        *("benchmark", "--model", "tiny.yaml", "--imgsz", 64, "--engine", engines, *QUICK, "--json", "b.json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "b.json").read_text())
    assert [row["engine"] for row in rows] == engines.split(",")
    for row in rows:
        assert (row["model"], row["imgsz"], row["weights"], row["AP"]) == ("tiny.yaml", 64, None, None)
        assert row["flops_g"] == pytest.approx(2 * row["macs_g"], abs=2e-4)
        assert row["params_m"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.yaml", "b.json"}


@pytest.mark.slow
@pytest.mark.skipif(not extras.available("ultralytics"), reason="needs ghostyolo[ultralytics]")
def test_a_network_of_ultralytics_is_measured_beside_ours(run_cli, tmp_path):
    done = run_cli(
        *("benchmark", "--weights", "digits", "--against", "ultralytics:yolo26n,yolo11n", "--imgsz", 320, *QUICK),
        *("--reference", "ultralytics:yolo26n", "--json", "b.json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    rows = {row["model"]: row for row in json.loads((tmp_path / "b.json").read_text())}
    assert list(rows) == ["digits", "ultralytics:yolo26n", "ultralytics:yolo11n"]
    peer = rows["ultralytics:yolo26n"]
    assert (peer["ratio"], peer["engine"], peer["imgsz"]) == (1, "onnxruntime", 320)
    assert peer["params_m"] == pytest.approx(2.41, abs=0.03)
    assert rows["ultralytics:yolo11n"]["flops_g"] == pytest.approx(6.5 / 4, rel=0.03)
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to measure"),
        (("--weights", "bccdd"), "did you mean bccd"),
        (("--weights", "digits", "--engine", "onnxruntim"), "did you mean onnxruntime"),
        (("--weights", "digits", "--threads", 0), "threads must be at least 1, not 0"),
        (("--weights", "digits", "--runs", 0), "runs must be at least 1, not 0"),
        (("--weights", "digits", "--imgsz", 100), "nearest valid one is 96"),
        (("--weights", "digits", "--reference", "digit"), "did you mean digits"),
        (("--weights", "digits", "--images", "absent"), "absent does not exist"),
        (("--weights", "digits", "--data", "absent"), "absent"),
        (("--weights", "digits", "--data", "squares"), "classes"),
        (("--weights", "digits", "--device", "tpu"), "unknown device 'tpu'"),
        (("--weights", "digits", "--picture", "p.doc"), "must end in .png"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_wrong_input_is_one_line_and_writes_nothing(type_cli, squares, tmp_path, arguments, words):
    done = type_cli("benchmark", *arguments, "--json", "b.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["squares"]


def test_python_measures_in_this_process():
    import ghostyolo
    from ghostyolo.errors import ConfigError

    predictor = ghostyolo.load(MODEL_PATH)
    timing = predictor.benchmark([picture(128, 128, (0, 0, RED))], runs=3, warmup=0, batch=2, imgsz=64)
    assert (timing.runs, timing.batch) == (3, 2)
    assert timing.total_ms > timing.median_ms > 0
    assert ghostyolo.Detector(MODEL_PATH).benchmark(runs=2, warmup=0).runs == 2
    with pytest.raises(ConfigError, match="runs must be at least 1"):
        predictor.benchmark(runs=0)

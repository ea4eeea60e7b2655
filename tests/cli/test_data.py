"""``ghostyolo data check`` and ``ghostyolo data digits`` from the command line, end to end."""

from __future__ import annotations

import json

import pytest

from ghostyolo.data.formats import load_dataset


def test_digits_then_check_then_fix(run_cli, tmp_path):
    pytest.importorskip("sklearn", reason="digit scenes need the scenes extra")
    pytest.importorskip("skimage", reason="digit scenes need the scenes extra")
    scenes = tmp_path / "scenes"
    made = run_cli("data", "digits", "--out", scenes, "--train", 12, "--val", 4, "--imgsz", 96, "--layout", "voc")
    assert made.returncode == 0, made.stderr
    assert "train 12 images" in made.stdout
    assert len(load_dataset(scenes).splits["train"]) == 12

    clean = run_cli("data", "check", scenes)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert "Objects" in clean.stdout

    broken = scenes / "JPEGImages/train_00003.jpg"
    broken.write_bytes(broken.read_bytes()[:500])
    report, copy = tmp_path / "report.json", tmp_path / "clean"
    found = run_cli("data", "check", scenes, "--json", report, "--fix", copy)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "unreadable-image" in found.stdout
    content = json.loads(report.read_text())
    assert [p["kind"] for p in content["problems"] if p["level"] == "error"] == ["unreadable-image"]
    assert run_cli("data", "check", copy).returncode == 0
    assert len(load_dataset(copy).splits["train"]) == 11


def test_check_of_nothing_is_one_line_and_status_2(run_cli, tmp_path):
    result = run_cli("data", "check", tmp_path / "none")
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(f"error: {tmp_path / 'none'} does not exist: give the folder of a data set")

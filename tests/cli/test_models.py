"""``ghostyolo models``: the documented JSON, and a size that no network can take."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="needs the train extra")

KEYS = {"name", "backbone", "neck", "head", "params_m", "params_deployed_m", "macs_g", "flops_g", "imgsz"}


def test_models_prints_the_zoo_as_json(run_cli):
    done = run_cli("models", "--imgsz", 320, "--classes", 3, "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert all(set(row) == KEYS and row["imgsz"] == 320 for row in rows.values())
    ghost, original = rows["yolov13n-ghostnetv3"], rows["yolov13n"]
    assert ghost["params_deployed_m"] < original["params_deployed_m"]
    assert ghost["flops_g"] == pytest.approx(2 * ghost["macs_g"], abs=1e-3)
    assert ghost["flops_g"] < 0.8 * original["flops_g"]


def test_a_size_off_the_stride_is_one_line(run_cli):
    done = run_cli("models", "--imgsz", 100)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["error: imgsz 100 is not a multiple of 32: the nearest valid one is 96"]

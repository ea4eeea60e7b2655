"""``ghostyolo models``: the documented JSON, and a size that no network can take."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="needs the train extra")

from ghostyolo.models.costs import counted_row, describe_model
from ghostyolo.models.names import list_models

KEYS = {"name", "backbone", "neck", "head", "params_m", "params_deployed_m", "macs_g", "flops_g", "imgsz"}


def test_models_prints_the_whole_zoo_at_once(run_cli):
    done = run_cli("models", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert all(set(row) == KEYS for row in rows)
    assert [row["name"] for row in rows] == list_models()


def test_models_prints_named_ones_at_another_size(type_cli):
    done = type_cli("models", "yolov13n", "yolov13n-ghostnetv3", "--imgsz", 320, "--classes", 3, "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert all(set(row) == KEYS and row["imgsz"] == 320 for row in rows.values())
    ghost, original = rows["yolov13n-ghostnetv3"], rows["yolov13n"]
    assert ghost["params_deployed_m"] < original["params_deployed_m"]
    assert ghost["flops_g"] == pytest.approx(2 * ghost["macs_g"], abs=1e-3)
    assert ghost["flops_g"] < 0.8 * original["flops_g"]


def test_a_size_off_the_stride_is_one_line(type_cli):
    done = type_cli("models", "yolov13n", "--imgsz", 100)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["error: imgsz 100 is not a multiple of 32: the nearest valid one is 96"]


def test_parts_are_listed_with_their_parameters(type_cli):
    done = type_cli("models", "--parts", "--json")
    assert done.returncode == 0, done.stderr
    parts = {(row["kind"], row["name"]): row for row in json.loads(done.stdout)}
    usual = {"width": 1.0, "branches": 3, "attention": "dfc", "pointwise_branch": True}
    assert parts["backbone", "ghostnetv3"]["params"] == usual
    assert parts["neck", "hyperace_fullpad"]["scales"]["n"]["width"] == 0.25
    assert parts["head", "dfl"]["params"]["bins"] == 16


@pytest.mark.parametrize("name", ["yolov13n", "yolov13p-ghostnetv3-psa", "yolov13s-ghostnetv3", "ghostyolo-n"])
def test_the_packaged_counts_are_what_is_counted(name):
    assert counted_row(name, 640, 80) == describe_model(name)
    assert counted_row(name, 320, 80) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_all_packaged_counts_are_what_is_counted(name):
    assert counted_row(name, 640, 80) == describe_model(name)

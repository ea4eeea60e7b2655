"""The page docs/ultralytics.md tells the truth."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from ghostyolo.integrations.ultralytics import layer
from ghostyolo.integrations.ultralytics.rows import KINDS, NAMES, accepted_parameters
from tests.docs.pages import REPOSITORY, blocks
from tests.integrations.ultralytics.builders import PAGE, network, write_squares


def test_the_yaml_of_the_page_can_be_used_at_its_scales(package, tmp_path, monkeypatch):
    (tmp_path / "yolo11-mine.yaml").write_text(blocks(PAGE, "yml")[0])
    monkeypatch.chdir(tmp_path)
    small, large = (network(package, "yolo11-mine.yaml", letter) for letter in "ns")
    assert small.stride.tolist() == [8, 16, 32]
    assert small.model[0].module.channels == (20, 56, 80)
    hyperaces = [model.model[4].module for model in (small, large)]
    assert [module.exit.conv.out_channels for module in hyperaces] == [128, 256]
    assert [module.global_first.hypergraph.participation.hyperedges for module in hyperaces] == [4, 8]


def test_the_page_has_every_layer_and_every_parameter():
    rows = dict(re.findall(r"^\| `ghostyolo\.(\w+)`.*? \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {*rows, "DFC"} == set(NAMES)  # PSA and DFC share a line
    for name in set(KINDS) - {"DFC"}:
        assert not [key for key in accepted_parameters(name, None) if f"`{key}`" not in rows[name]], name


def test_the_page_s_table_has_the_benchmark_s_figures():
    results = json.loads((REPOSITORY / "benchmarks" / "results" / "ultralytics_models.json").read_text())["rows"]
    figures = {row["model"]: f"{row['params_deployed_m']:.2f} M, {row['flops_g']:.1f} G" for row in results}
    lines = re.findall(r"^\| (yolo\w+) \| (.*) \| (.*) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 30
    for model, *cells in lines:
        assert cells == [figures[model + suffix] for suffix in ("", "-ghostnetv3", "-ghostnetv3-psa")]


def test_the_page_names_the_tested_versions():
    versions = re.findall(r"8\.4\.\d+", PAGE.read_text(encoding="utf-8"))
    assert {layer.OLDEST, layer.NEWEST_TESTED} <= set(versions)


@pytest.mark.slow
def test_the_calls_of_the_page_run(package, tmp_path, monkeypatch):
    write_squares(tmp_path / "my-data")
    shutil.copy(tmp_path / "my-data" / "images" / "val" / "0.png", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    variables = {}
    exec(compile(blocks(PAGE, "python")[0], PAGE.name, "exec"), variables)
    assert variables["detector"].trainer.best.with_suffix(".onnx").is_file()

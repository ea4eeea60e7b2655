"""A stranger's folder without splits goes through check, train, val and predict without an option about data."""

from __future__ import annotations

import json
import re

import pytest

from ghostyolo.data.formats import load_dataset
from ghostyolo.data.split import lists_of, with_validation
from tests.data import test_split as scenes
from tests.data.builders import text, voc_xml

pytest.importorskip("torch", reason="training needs ghostyolo[train]")
SHORT = ["--imgsz", 64, "--batch", 4, "--threads", 1, "--device", "cpu", "--set", "plots=false"]


@pytest.fixture
def stranger(tmp_path):
    """XML beside pictures, as labelImg writes it; no splits."""
    root = tmp_path / "my pets"
    for index in range(12):
        scenes.save(root / f"IMG_{index:03d}.JPG", scenes.scene(index))
        name = ("cat", "dog")[index % 2]
        text(root / f"IMG_{index:03d}.xml", voc_xml([(name, (10, 10, 50, 50), 0)], f"IMG_{index:03d}.JPG", (96, 64)))
    return root


def test_a_strangers_folder_goes_the_whole_way(type_cli, stranger, tmp_path):
    from tests.train import tiny

    checked = type_cli("data", "check", stranger)
    assert checked.returncode == 0, checked.stdout
    out = tmp_path / "run"
    model = tmp_path / "tiny.yaml"
    text(model, json.dumps(tiny.CONFIG.model_dump(mode="json", exclude={"name"})))
    trained = type_cli("train", "--data", stranger, "--model", model, "--epochs", 1, *SHORT, "--out", out)
    assert trained.returncode == 0, trained.stderr
    assert re.search(r"held-out.*: 10 train, 2 val pictures, seed 0", trained.stdout)
    kept = load_dataset(out / "split")
    assert {split: len(records) for split, records in kept.splits.items()} == {"train": 10, "val": 2}
    assert lists_of(with_validation(load_dataset(stranger)))["val.txt"] == (out / "split/val.txt").read_text()

    longer = type_cli("train", "--data", stranger, "--resume", "--out", out)
    assert longer.returncode == 0, longer.stderr
    assert f"held-out, val made of training pictures: {out / 'split'}" in longer.stdout

    scored = type_cli("val", "--weights", out / "best.safetensors", "--data", stranger)
    assert scored.returncode == 0, scored.stderr
    assert "2 pictures" in scored.stdout
    found = type_cli("predict", "--weights", out / "best.safetensors", stranger, "--out", tmp_path / "found")
    assert found.returncode == 0, found.stdout + found.stderr

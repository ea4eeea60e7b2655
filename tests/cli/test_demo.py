"""``ghostyolo demo``."""

from __future__ import annotations

import io
import json
import re
import time

import pytest
from PIL import Image
from rich.console import Console

from ghostyolo import extras
from ghostyolo.cli.demo import demo, show
from ghostyolo.errors import GhostYoloError, MissingExtraError, SourceError
from ghostyolo.runtime.weights import assets_folder, builtin_names
from tests.runtime.colour_model import MODEL_PATH, RED, WHITE, picture


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=160)


def test_pictures_are_annotated_listed_and_found_again(tmp_path, console):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(picture(128, 128, (1, 1, RED), (3, 0, WHITE))).save(pictures / "one.jpg", quality=95)
    Image.fromarray(picture(128, 64)).save(pictures / "two.jpg")

    show(MODEL_PATH, pictures, tmp_path / "out", console)

    output = console.file.getvalue()
    for part in ("one.jpg", "two.jpg", "objects", "ms per image", "onnxruntime", str(tmp_path / "out")):
        assert part in output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "detections.json",
        "one.jpg",
        "two.jpg",
    ]
    records = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [sorted(item["class"] for item in record["objects"]) for record in records] == [
        ["red", "white"],
        [],
    ]


def test_without_pictures_there_is_one_clear_line(tmp_path, console):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(SourceError, match="holds no pictures"):
        show(MODEL_PATH, tmp_path / "pictures", tmp_path / "out", console)


def test_training_without_torch_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "available", lambda extra: False)
    with pytest.raises(MissingExtraError, match=f"demo --train needs .*{re.escape(extras.install_command('train'))}"):
        demo(out=tmp_path / "out", train=True)
    assert issubclass(MissingExtraError, GhostYoloError)


def test_the_command_shows_digits_within_ten_seconds(run_cli, tmp_path):
    if "digits" not in builtin_names():
        pytest.skip("the package has no digits weights yet")
    start = time.monotonic()
    done = run_cli("demo", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 10
    records = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len(records) == len(list((assets_folder() / "pictures").iterdir()))
    assert sum(len(record["objects"]) for record in records) > 0
    for record in records:
        assert any(path.stem in record["image"] for path in (tmp_path / "out").glob("*.*"))

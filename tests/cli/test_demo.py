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
        demo(out=tmp_path / "out", train=True, web=False)
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


def test_the_page_is_served_with_the_built_in_detector_until_it_is_interrupted(tmp_path, monkeypatch, capsys):
    """Its files are asked for while the command waits for Ctrl-C."""
    from urllib.request import urlopen

    from ghostyolo.export.web.server import PageServer
    from tests.export.web.runtime_packages import use_package

    use_package(monkeypatch, tmp_path)
    got = {}

    def ask_and_interrupt(server):
        for name in ("", "detector.json", "detector.onnx", "example.jpg", "onnxruntime/ort.wasm.min.mjs"):
            got[name] = urlopen(server.url + name).read()
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "wait", ask_and_interrupt)
    demo(out=tmp_path / "out", train=False, web=True, port=0, browser=False)
    assert json.loads(got["detector.json"])["class_names"] == [str(digit) for digit in range(10)]
    assert got["detector.onnx"] == (assets_folder() / "digits.onnx").read_bytes()
    assert all(got.values())
    assert "http://127.0.0.1:" in capsys.readouterr().out


def test_the_page_says_when_its_port_is_in_use_before_it_fetches_anything(tmp_path, type_cli):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = type_cli("demo", "--web", "--no-browser", "--port", port, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert f"cannot serve on 127.0.0.1:{port}: the port is in use; give another --port" in done.stderr
    assert not (tmp_path / "out").exists()

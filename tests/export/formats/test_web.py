"""Folders with a page: what is in them, what is refused, and what is said of the comparison in a browser."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ghostyolo.errors import ConfigError, ExportError
from ghostyolo.export.exporter import export_network
from ghostyolo.export.formats import Elsewhere
from ghostyolo.export.options import ExportOptions
from ghostyolo.export.parity import built_in_pictures, compare_elsewhere
from ghostyolo.export.web import browser, runtime_files
from ghostyolo.runtime.predictor import load
from tests.export.web.runtime_packages import use_package
from tests.train.tiny import make_confident, model_and_metadata


@pytest.fixture(scope="module")
def network():
    model, metadata = model_and_metadata()
    make_confident(model)
    return model.eval(), metadata


@pytest.fixture(scope="module")
def exported(tmp_path_factory, network):
    """One export for all tests, on a machine without a browser."""
    folder = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as patch:
        use_package(patch, folder)
        patch.setattr(browser, "find_browser", lambda: None)
        return export_network(*network, folder / "parts_web", "web")


def test_the_folder_holds_the_page_the_network_and_its_runtime(exported, network):
    metadata = network[1]
    names = {path.relative_to(exported.path).as_posix() for path in exported.path.rglob("*") if path.is_file()}
    assert {"index.html", "page.js", "worker.js", "detector.onnx", "detector.json", "onnxruntime/LICENSE"} <= names
    described = json.loads((exported.path / "detector.json").read_text())
    assert described["title"] == "Parts"
    assert (described["class_names"], described["imgsz"]) == (metadata.class_names, metadata.imgsz)
    assert (described["resize"], described["nms"]) == (metadata.resize, metadata.nms)
    assert described["export"] == {"width": None, "height": None}
    assert load(exported.path / "detector.onnx").metadata.export.format == "web"


def test_without_a_browser_it_says_that_it_was_not_compared_in_one(exported):
    assert exported.parity.detections > 0
    assert exported.parity.failures == ()
    assert exported.parity.elsewhere.startswith("not compared in a browser: no Chromium is on this machine")


@pytest.mark.parametrize(("shift", "same"), [(0.5, True), (1.5, False)])
def test_boxes_of_the_browser_must_be_python_s(tmp_path, shift, same):
    """A browser that answers as Python does, but for a shift of all boxes in pixels."""
    digits = load("digits", threads=1)
    pictures = built_in_pictures(3)[:1]

    def shifted(path, pictures, confidence):
        found = digits.detect(pictures, confidence=confidence)
        for detections in found:
            detections.xyxy += np.float32(shift)
        return found

    failures, line = compare_elsewhere(Elsewhere("a browser", shifted), tmp_path, digits, pictures)
    count = len(digits.detect(pictures)[0])
    assert line.startswith(f"in a browser {count} of {count} detections matched (it has {count})")
    assert failures == ([] if same else [line])
    assert f"boxes within {shift:.2g} pixels" in line


def test_a_browser_that_answers_nothing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(browser, "find_browser", lambda: "false")
    with pytest.raises(ExportError, match="false ended with status 1 without an answer"):
        browser.detect_with_page(tmp_path, built_in_pictures(3)[:1], 0.25)


def test_what_a_page_cannot_do_is_refused(tmp_path, network):
    model, metadata = network
    with pytest.raises(ConfigError, match="decoded outputs, not nms"):
        export_network(model, metadata, tmp_path / "x_web", "web", ExportOptions(output="nms"))
    with pytest.raises(ConfigError, match="one picture at a time"):
        export_network(model, metadata, tmp_path / "x_web", "web", ExportOptions(batch=2, dynamic=False))
    five = metadata.model_copy(update={"in_channels": 5})
    with pytest.raises(ExportError, match="1 or 3 channels, this network takes 5"):
        export_network(model, five, tmp_path / "x_web", "web")


def test_without_the_runtime_nothing_is_written(tmp_path, network, monkeypatch):
    use_package(monkeypatch, tmp_path).unlink()
    monkeypatch.setattr(runtime_files, "URL", "http://127.0.0.1:9/package.tgz")
    with pytest.raises(ExportError, match="a web page needs ONNX Runtime Web"):
        export_network(*network, tmp_path / "x_web", "web")
    assert not (tmp_path / "x_web").exists()

"""Which files and networks are measured on which engines, and what is refused before any work."""

from __future__ import annotations

import re

import pytest

from ghostyolo import extras
from ghostyolo.benchmark import ultralytics_peer
from ghostyolo.benchmark.candidates import network_candidates, weights_candidates
from ghostyolo.benchmark.compare import find_reference
from ghostyolo.benchmark.ultralytics_peer import peer_candidates
from ghostyolo.errors import ConfigError, MissingExtraError, WeightsError
from tests.runtime.colour_model import MODEL_PATH

needs_torch = pytest.mark.skipif(not extras.available("train"), reason="needs ghostyolo[train]")


def seen(candidates):
    return [(one.kind, one.engine, one.imgsz, one.precision) for one in candidates]


def test_a_file_runs_on_its_own_engine():
    for engines in ([], ["onnxruntime"]):
        (one,) = weights_candidates(str(MODEL_PATH), engines, 128)
        assert seen([one]) == [("file", "onnxruntime", 128, "fp32")]
        assert (one.model, one.place, one.has_weights) == ("colour_model.onnx", str(MODEL_PATH), True)


@needs_torch
def test_built_in_weights_are_exported_for_the_engines_that_their_file_is_not_for(monkeypatch):
    monkeypatch.setattr(extras, "available", lambda extra: True)
    found = weights_candidates("digits", ["onnxruntime", "openvino", "torch"], None)
    assert [one.kind for one in found] == ["file", "checkpoint", "checkpoint"]
    assert [one.place.rpartition(".")[2] for one in found] == ["onnx", "safetensors", "safetensors"]
    assert {one.model for one in found} == {"digits"}


@needs_torch
def test_a_network_is_measured_at_each_precision_on_each_engine():
    found = network_candidates("yolov8n", ["onnxruntime"], 320, ["fp32", "fp16"])
    assert seen(found) == [("network", "onnxruntime", 320, "fp32"), ("network", "onnxruntime", 320, "fp16")]
    assert not found[0].has_weights
    assert network_candidates("yolov8n", [], None)[0].engine == "onnxruntime"


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: weights_candidates("bccdd", [], None), WeightsError, "did you mean bccd"),
        (lambda: weights_candidates("absent.onnx", [], None), WeightsError, "does not exist"),
        (lambda: weights_candidates(str(MODEL_PATH), ["onnxruntim"], None), ConfigError, "did you mean onnxruntime"),
        (lambda: network_candidates("yolov13n-ghostnetv", [], None), ConfigError, "did you mean ghostnetv3"),
        (lambda: network_candidates("absent.yaml", [], None), ConfigError, "absent.yaml"),
        (lambda: network_candidates("yolov8n", [], None, ["fp31"]), ConfigError, "did you mean fp32"),
        (lambda: network_candidates("yolov8n", ["torch"], None, ["int8"]), ConfigError, "torch is given fp32"),
        (lambda: peer_candidates("yolo26n", [], None), ConfigError, "ultralytics:NAME"),
        (lambda: peer_candidates("mmdet:rtmdet", [], None), ConfigError, "ultralytics:NAME"),
    ],
)
def test_what_is_wrong_is_said_at_once(call, kind, words, monkeypatch):
    if not extras.available("train"):
        pytest.skip("without torch the message is another")
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "extra"),
    [
        (lambda: weights_candidates(str(MODEL_PATH), ["openvino"], None), "openvino"),
        (lambda: network_candidates("yolov8n", [], None), "train"),
        (lambda: peer_candidates("ultralytics:yolo26n", [], None), "ultralytics"),
    ],
)
def test_a_missing_package_is_the_line_to_type(call, extra, monkeypatch):
    monkeypatch.setattr(extras, "available", lambda extra: False)
    with pytest.raises(MissingExtraError, match=re.escape(extras.install_command(extra))):
        call()


def test_a_file_for_another_engine_is_refused(monkeypatch):
    monkeypatch.setattr(extras, "available", lambda extra: True)
    with pytest.raises(ConfigError, match=r"runs on onnxruntime only: add it to --engine"):
        weights_candidates(str(MODEL_PATH), ["openvino"], None)


def test_networks_of_ultralytics_are_known_by_its_files(monkeypatch):
    monkeypatch.setattr(extras, "available", lambda extra: True)
    monkeypatch.setattr(ultralytics_peer, "_detectors", lambda: {"yolo26", "yolo11", "yolo26-p2"})
    found = peer_candidates("ultralytics:yolo26n,yolo11s.yaml,yolo26n-p2", [], 320)
    assert [one.place for one in found] == ["yolo26n", "yolo11s", "yolo26n-p2"]
    assert found[0].model == "ultralytics:yolo26n"
    with pytest.raises(ConfigError, match=r"has no detector 'yolo62n'.*yolo26n"):
        peer_candidates("ultralytics:yolo62n", [], 320)
    with pytest.raises(ConfigError, match="measures on onnxruntime"):
        peer_candidates("ultralytics:yolo26n", ["openvino"], 320)


def test_the_reference_is_found_by_name():
    found = [*weights_candidates("digits", [], None), *weights_candidates(str(MODEL_PATH), [], None)]
    assert find_reference(found, None) == 0
    assert find_reference(found, "colour_model.onnx") == 1
    with pytest.raises(ConfigError, match=r"'colour_model' .*did you mean colour_model.onnx"):
        find_reference(found, "colour_model")

"""The comparison of a file with its network finds what is wrong with a file."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from ghostyolo.errors import ParityError
from ghostyolo.export import parity as parity_module
from ghostyolo.export.deployed import fold_for_device
from ghostyolo.export.parity import TOLERANCES, ParityReport, _failures, _Pairs, check_parity
from ghostyolo.metadata import ExportInfo
from ghostyolo.runtime.engines.torch import TorchEngine
from tests.train.tiny import make_confident, model_and_metadata


class Spoilt:
    """The network with something wrong about its answers."""

    name = "spoilt"

    def __init__(self, model, metadata, boxes=lambda boxes: boxes, scores=lambda scores: scores):
        self.inner, self.metadata = TorchEngine(model, metadata), metadata
        self.boxes, self.scores = boxes, scores

    def __call__(self, images):
        boxes, scores = self.inner(images)
        return self.boxes(boxes), self.scores(scores)


@pytest.fixture
def network():
    model, metadata = model_and_metadata()
    make_confident(model)
    folded = fold_for_device(model)
    info = ExportInfo(format="onnx", precision="fp32")
    return folded, metadata.model_copy(update={"export": info, "nms": True})


def compare(monkeypatch, network, precision="fp32", **spoilt) -> ParityReport:
    folded, metadata = network
    metadata = metadata.model_copy(update={"export": ExportInfo(format="onnx", precision=precision)})
    monkeypatch.setattr(parity_module, "open_engine", lambda path: Spoilt(folded, metadata, **spoilt))
    return check_parity(folded, metadata, "model.x")


def test_the_network_agrees_with_itself(monkeypatch, network):
    report = compare(monkeypatch, network)
    assert (report.pixels, report.score) == (0, 0)
    assert report.detections == report.found == report.matched > 0
    assert report.failures == ()
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("precision", "spoilt", "message"),
    [
        ("fp32", {"boxes": lambda boxes: boxes + 0.2}, "boxes are 0.2 pixels apart"),
        ("fp16", {"boxes": lambda boxes: boxes + 3}, "boxes are 3 pixels apart"),
        ("fp32", {"scores": lambda scores: scores * 0.9}, "scores are"),
        ("int8", {"scores": lambda scores: scores * 0}, "0 detections agree"),
        ("int8", {"boxes": lambda boxes: boxes + 500}, "detections agree"),
        ("fp32", {"boxes": lambda boxes: boxes * np.nan}, "boxes are inf pixels apart"),
        ("fp32", {"boxes": lambda boxes: boxes[:, 1:], "scores": lambda scores: scores[:, 1:]}, "inf pixels"),
    ],
)
def test_what_is_wrong_is_said(monkeypatch, network, precision, spoilt, message):
    report = compare(monkeypatch, network, precision, **spoilt)
    assert any(message in failure for failure in report.failures), report.failures


def test_half_precision_may_differ_where_nothing_is_found(monkeypatch, network):
    folded, metadata = network

    class ShiftsTheUnlikely(Spoilt):
        def __call__(self, images):
            boxes, scores = self.inner(images)
            return boxes + 50 * (scores.max(2) < 0.1)[..., None], scores

    metadata = metadata.model_copy(update={"export": ExportInfo(format="onnx", precision="fp16")})
    monkeypatch.setattr(parity_module, "open_engine", lambda path: ShiftsTheUnlikely(folded, metadata))
    report = check_parity(folded, metadata, "model.x")
    assert report.failures == ()
    assert report.pixels == pytest.approx(50, abs=0.01)
    assert report.confident_pixels == 0


def test_pairs_are_of_one_class_and_taken_once():
    import supervision

    def found(boxes, labels):
        count = len(boxes)
        return supervision.Detections(
            xyxy=np.array(boxes, np.float32).reshape(-1, 4),
            confidence=np.linspace(0.9, 0.5, count, dtype=np.float32),
            class_id=np.array(labels, int),
        )

    pairs = _Pairs()
    pairs.add(found([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]], [0, 1, 0]), found([[0, 0, 10, 9]], [0]))
    assert (pairs.expected, pairs.found, pairs.matched) == (3, 1, 1)
    assert pairs.pixels == 1
    pairs.add(found([], []), found([[0, 0, 1, 1]], [0]))
    assert (pairs.expected, pairs.found, pairs.matched) == (3, 2, 1)


def test_average_precision_may_fall_by_what_the_precision_allows():
    report = ParityReport(
        format="x", engine="y", precision="int8", images=1, origin="pictures", pixels=None, score=None,
        confident_pixels=None, confident_score=None, detections=0, found=0, matched=0,
        matched_pixels=0, matched_score=0, ap_network=0.50, ap_file=0.495, tolerance=TOLERANCES["int8"],
    )  # fmt: skip
    assert _failures(report) == []
    assert _failures(dataclasses.replace(report, ap_file=0.489)) == ["AP falls by 1.10 points (allowed 1)"]


def test_a_file_that_differs_is_kept_aside_with_its_report(tmp_path, monkeypatch):
    from ghostyolo.export.exporter import export_network

    model, metadata = model_and_metadata()
    tight = {**TOLERANCES, "fp32": dataclasses.replace(TOLERANCES["fp32"], pixels=-1.0)}
    monkeypatch.setattr(parity_module, "TOLERANCES", tight)
    (tmp_path / "m.onnx").write_text("what was there")
    with pytest.raises(ParityError, match=r"differs from its network: boxes are .* pixels apart") as error:
        export_network(model, metadata, tmp_path / "m.onnx", overwrite=True)
    assert error.value.exit_status == 3
    assert (tmp_path / "m.onnx").read_text() == "what was there"
    assert {path.name for path in tmp_path.iterdir()} == {
        "m.onnx", "failed-m.onnx", "failed-m.onnx.parity.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "failed-m.onnx.parity.json").read_text())["failures"]


def test_pictures_of_the_data_are_compared_where_there_are_some(monkeypatch, network, tmp_path):
    from tests.train import tiny

    folded, metadata = network
    data = tiny.squares(tmp_path, train=2, val=20)
    data.splits["val"][0].path.write_bytes(b"broken")
    monkeypatch.setattr(parity_module, "open_engine", lambda path: Spoilt(folded, metadata))
    labelled = parity_module.LabelledPictures(data.splits["val"], data.class_names)
    report = check_parity(folded, metadata, "model.x", labelled=labelled)
    assert (report.origin, report.images) == ("pictures of the data", 9)  # every second, the first is broken
    assert compare(monkeypatch, network).origin == "built-in pictures"


def test_pictures_without_an_object_are_said_to_be_such(monkeypatch):
    model, metadata = model_and_metadata()
    metadata = metadata.model_copy(update={"export": ExportInfo(format="onnx"), "nms": True})
    summary = compare(monkeypatch, (fold_for_device(model), metadata)).summary()
    assert "no score above 0.25 on them: give pictures with your objects (--data or --images)" in summary
    assert "0 of 0" not in summary

"""Defaults stand in one place: what is not given is the same for commands, Python and the typed models."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from ghostyolo.detector import Detector
from ghostyolo.runtime.postprocess import select_detections
from ghostyolo.runtime.predictor import Predictor
from ghostyolo.thresholds import ALIASES, METRIC_SELECTION, SELECTION, Limits, MetricSelection, Selection
from tests.runtime.colour_model import MODEL_PATH, RED, picture


@pytest.fixture
def selections(monkeypatch) -> list[Selection]:
    """The limits that boxes were chosen by."""
    from ghostyolo.runtime import predictor

    seen: list[Selection] = []

    def note(boxes: Any, scores: Any, selection: Selection, **how: Any) -> Any:
        seen.append(selection)
        return select_detections(boxes, scores, selection, **how)

    monkeypatch.setattr(predictor, "select_detections", note)
    return seen


@pytest.fixture
def typed():
    """Run a command in this process."""
    import typer.main

    from ghostyolo.cli import main

    main._register()
    command = typer.main.get_command(main.app)
    return lambda *words: command.main([*map(str, words)], standalone_mode=False)


@pytest.fixture
def photo(tmp_path):
    import cv2

    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "labels").mkdir()
    path = tmp_path / "data" / "images" / "a.png"
    cv2.imwrite(str(path), picture(128, 128, (0, 0, RED))[:, :, ::-1])
    path.parent.with_name("labels").joinpath("a.txt").write_text("0 0.125 0.125 0.25 0.25\n")
    (tmp_path / "data" / "data.yaml").write_text("path: .\nval: images\nnames: [red, green, blue, white]\n")
    return path


def test_predicting(selections, typed, photo, tmp_path) -> None:
    list(Detector(MODEL_PATH).predict(photo))
    typed("predict", photo, "--weights", MODEL_PATH, "--out", tmp_path / "out")
    assert selections == [SELECTION, SELECTION]
    list(Detector(MODEL_PATH).predict(photo, confidence=0.4, iou=0.5))
    typed("predict", photo, "--weights", MODEL_PATH, "--out", tmp_path / "out", "--conf", 0.4, "--iou", 0.5)
    assert selections[2:] == [Selection(confidence=0.4, iou=0.5)] * 2


def test_scoring(selections, typed, photo) -> None:
    data = photo.parents[1]
    Detector(MODEL_PATH).val(data)
    typed("val", "--weights", MODEL_PATH, "--data", data)
    assert [dict(selection) for selection in selections] == [dict(METRIC_SELECTION)] * 2


@pytest.mark.parametrize("method", ["predict", "val", "benchmark"])
def test_detector_takes_what_its_predictor_takes(method) -> None:
    def names(owner: type) -> list[tuple[str, Any, Any]]:
        parameters = inspect.signature(getattr(owner, method)).parameters.values()
        return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]

    assert names(Detector) == names(Predictor)


def test_editors_see_every_limit() -> None:
    assert list(Limits.__annotations__) == [*Selection.model_fields, *ALIASES]
    for door in (Detector.predict, Detector.val, Predictor.predict, Predictor.detect, Predictor.val):
        assert inspect.signature(door).parameters["select"].annotation == "Unpack[Limits]"


def test_exporting() -> None:
    options = pytest.importorskip("ghostyolo.export.options")
    assert options.ExportOptions().nms == SELECTION


@pytest.mark.parametrize(
    ("command", "name", "model", "key"),
    [
        ("predict", "conf", Selection, "confidence"),
        ("predict", "iou", Selection, "iou"),
        ("val", "conf", MetricSelection, "confidence"),
        ("val", "iou", MetricSelection, "iou"),
        ("export", "conf", Selection, "confidence"),
        ("export", "max_detections", Selection, "max_detections"),
        ("pseudo-label", "iou", Selection, "iou"),
    ],
)
def test_help_is_made_from_the_models(command, name, model, key) -> None:
    import typer.main

    from ghostyolo.cli import main

    main._register()
    parameters = {one.name: one for one in typer.main.get_command(main.app).commands[command].params}  # type: ignore[attr-defined]
    field = model.model_fields[key]
    assert f"[default: {field.default:g}]" in parameters[name].help
    assert parameters[name].default is None

"""Every engine finds in a picture what is stored that each shipped network finds (answers/make.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ghostyolo
from ghostyolo.extras import available
from tests.runtime.answers.make import ASSETS, CONFIDENCE
from tests.runtime.answers.pictures import PICTURES

ANSWERS = Path(__file__).parent / "answers"
# Engines add up in their own orders, which moves boxes by a thousandth of a pixel; decoders of JPEG differ by one grey
# level, which moves them by a tenth. A wrong resize, channel order or threshold moves them by whole pixels.
PIXELS, SCORE = 0.5, 0.01
SHIPPED = (".onnx", ".safetensors")
EXPORTED = ("openvino", "mnn", "ncnn", "torchscript", "executorch", "litert")


def assert_finds_what_is_stored(weights: Path, name: str) -> None:
    expected = json.loads((ANSWERS / f"{name}.json").read_text(encoding="utf-8"))
    predictor = ghostyolo.load(weights)
    detections = predictor.detect([PICTURES[name]()], confidence=CONFIDENCE)[0]
    assert len(detections) == len(expected) > 0
    places = np.array([row["box"] for row in expected])
    found = set()
    for box, score, label in zip(
        detections.xyxy, detections.confidence, detections.data["class_name"].tolist(), strict=True
    ):
        nearest = int(np.abs(places - box).max(1).argmin())
        assert label == expected[nearest]["class"]
        np.testing.assert_allclose(box, places[nearest], rtol=0, atol=PIXELS)
        assert score == pytest.approx(expected[nearest]["score"], abs=SCORE)
        found.add(nearest)
    assert len(found) == len(expected)


def test_every_shipped_file_has_an_answer():
    assert {path.stem for path in ASSETS.glob("*") if path.suffix in SHIPPED} == set(PICTURES)
    assert {path.stem for path in ANSWERS.glob("*.json")} == set(PICTURES)


@pytest.mark.parametrize("suffix", SHIPPED)
@pytest.mark.parametrize("name", PICTURES)
def test_a_shipped_file_finds_what_is_stored(name, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("torch", reason="torch runs .safetensors")
    assert_finds_what_is_stored(ASSETS / f"{name}{suffix}", name)


# Tiny networks hold each format's arithmetic in the default run (tests/export); a whole one takes a minute to export.
@pytest.mark.slow
@pytest.mark.parametrize("format", EXPORTED)
@pytest.mark.parametrize("name", PICTURES)
def test_an_exported_file_finds_what_is_stored(format, name, tmp_path):
    pytest.importorskip("torch", reason="exporting needs the train extra")
    from ghostyolo.export.formats import find_format

    kind = find_format(format)
    missing = [extra for extra in kind.needs if not available(extra)]
    if missing:
        pytest.skip(f"needs ghostyolo[{','.join(missing)}]")
    network = ghostyolo.Detector(str(ASSETS / f"{name}.safetensors"))
    path = network.export(format, tmp_path / f"{name}{kind.suffix}", check=False)
    assert_finds_what_is_stored(path, name)

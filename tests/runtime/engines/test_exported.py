"""Fixed batches and canvases, and detections that come suppressed, behind the one engine interface."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.metadata import ExportInfo, ModelMetadata
from ghostyolo.runtime.engines.exported import ExportedEngine, spread_detections
from ghostyolo.runtime.predictor import Predictor


class Recorder(ExportedEngine):
    """Answers with one box a picture, its left side the value of the first pixel; keeps the shapes it was given."""

    name = "recorder"

    def __init__(self, **export) -> None:
        self.path = Path("model.x")
        self.metadata = ModelMetadata(
            model="test", class_names=["a", "b"], imgsz=64, export=ExportInfo(format="x", **export)
        )
        self.shapes: list[tuple[int, ...]] = []

    def run(self, images):
        self.shapes.append(images.shape)
        value = images[:, 0, 0, 0]
        if self.export.output == "nms":  # as many detections as the number of the picture
            rows = [[owner, 0, 0, 8, 8, 0.5, 1] for owner, count in enumerate(value) for _ in range(int(count))]
            return [np.array(rows, np.float32).reshape(-1, 7)]
        boxes = np.stack([value, value * 0, value * 0 + 30, value * 0 + 30], 1)[:, None]
        return [boxes, np.full((len(images), 1, 2), 0.5, np.float32)]


def pictures(count: int, height: int = 64, width: int = 64) -> np.ndarray:
    images = np.zeros((count, 3, height, width), np.float32)
    images[:, 0, 0, 0] = np.arange(count)
    return images


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_fixed_batch_is_filled_and_cut(count):
    engine = Recorder(batch=2, height=64, width=64)
    boxes, scores = engine(pictures(count))
    assert set(engine.shapes) == {(2, 3, 64, 64)}
    assert len(engine.shapes) == (count + 1) // 2
    np.testing.assert_array_equal(boxes[:, 0, 0], np.arange(count))
    assert scores.shape == (count, 1, 2)


def test_an_open_batch_is_one_call():
    engine = Recorder()
    assert len(engine(pictures(5))[0]) == 5
    assert engine.shapes == [(5, 3, 64, 64)]


def test_another_size_than_the_fixed_one_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"model\.x takes 96 x 64 pixels only, not 64 x 64"):
        Recorder(batch=1, height=64, width=96)(pictures(1))


def test_outputs_that_the_metadata_does_not_name_are_refused():
    with pytest.raises(WeightsError, match="has 2 outputs, its metadata names boxes"):
        Recorder(outputs=["boxes"])(pictures(1))


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_suppressed_detections_stay_with_their_picture(batch):
    engine = Recorder(output="nms", outputs=["detections"], batch=batch)
    boxes, scores = engine(pictures(4))
    assert boxes.shape == (4, 3, 4)
    np.testing.assert_array_equal((scores[..., 1] == 0.5).sum(1), [0, 1, 2, 3])
    assert not scores[..., 0].any()


def test_no_detections_at_all_are_empty_arrays():
    boxes, scores = spread_detections(np.zeros((0, 7), np.float32), batch=2, classes=3)
    assert (boxes.shape, scores.shape) == ((2, 0, 4), (2, 0, 3))


def test_the_predictor_fits_pictures_to_a_fixed_canvas():
    engine = Recorder(batch=1, height=32, width=96)
    predictor = Predictor(engine)
    wide, tall = np.zeros((20, 60, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)
    found = predictor.detect([wide, tall])
    assert set(engine.shapes) == {(1, 3, 32, 96)}
    np.testing.assert_allclose(found[0].xyxy, [[0, 0, 18.75, 18.75]])  # 96 / 60 = 32 / 20 pixels for one
    assert len(predictor.detect([wide], imgsz=96)) == 1
    with pytest.raises(ConfigError, match="imgsz is 64, but these weights take 96 x 32 pixels only"):
        predictor.detect([wide], imgsz=64)


def test_an_engine_that_fails_or_answers_in_other_shapes_is_one_line():
    class Broken(Recorder):
        def run(self, images):
            raise RuntimeError("Reshape\nfailed")

    class Thin(Recorder):
        def run(self, images):
            return [np.zeros((1, 5, 4)), np.zeros((1, 5))]

    with pytest.raises(WeightsError, match=r"model.x cannot be run: .*Reshape failed"):
        Broken()(pictures(1))
    with pytest.raises(WeightsError, match=r"gives boxes \(1, 5, 4\) and scores \(1, 5\), which do not belong to"):
        Thin()(pictures(1))

"""Results as a notebook wants them: indexed, drawn, saved, cut out, as plain values and tables."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from ghostyolo.errors import ConfigError, MissingExtraError, OutputError
from ghostyolo.runtime.prediction import Prediction
from ghostyolo.runtime.predictor import Predictor
from tests.runtime.colour_model import BLUE, RED, ColourEngine, picture

PICTURES = [picture(128, 128, (0, 0, RED), (3, 2, BLUE)), picture(128, 128), picture(128, 128, (1, 1, RED))]


@pytest.fixture
def engine() -> ColourEngine:
    return ColourEngine()


@pytest.fixture
def prediction(engine) -> Prediction:
    return Predictor(engine)(PICTURES[0], confidence=0.5)[0]


def test_a_prediction_is_a_list_of_its_objects(prediction):
    assert len(prediction) == 2
    assert {item.name for item in prediction} == {"red", "blue"}
    first = prediction[0]
    assert (first.score, prediction[-1:]) == (pytest.approx(1), [prediction[1]])
    assert {item.box_xyxy for item in prediction} == {(0, 0, 32, 32), (96, 64, 128, 96)}
    assert repr(first).startswith(f"{first.name} 1.00 (")


def test_a_picture_without_objects_is_a_result_too(engine):
    prediction = Predictor(engine)(PICTURES[1])[0]
    assert prediction
    assert (len(prediction), prediction.crops(), prediction.to_dict()["objects"]) == (0, [], [])
    assert repr(prediction) == "Prediction(image-0, 128 x 128: nothing found)"


def test_plot_is_rgb_and_bgr_on_request(prediction):
    drawn = prediction.plot()
    assert (drawn.shape, drawn.dtype) == ((128, 128, 3), np.uint8)
    assert not np.array_equal(drawn, PICTURES[0])
    np.testing.assert_array_equal(prediction.plot(bgr=True), drawn[:, :, ::-1])
    np.testing.assert_array_equal(prediction.frame.image, PICTURES[0])  # left as it was


def test_save_writes_the_drawn_picture_in_the_format_of_its_name(prediction, tmp_path):
    assert prediction.save(tmp_path / "new" / "a.png") == tmp_path / "new" / "a.png"
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "a.png"))[:, :, ::-1], prediction.plot())
    prediction.save(tmp_path / "a.jpg")
    assert Image.open(tmp_path / "a.jpg").format == "JPEG"
    for name in ("a.txt", "a"):
        with pytest.raises(OutputError, match=r"name it \.jpg or \.png"):
            prediction.save(tmp_path / name)
        assert not (tmp_path / name).exists()


def test_crops_are_copies_of_the_objects(prediction):
    for item, crop in zip(prediction, prediction.crops(), strict=True):
        x1, y1, x2, y2 = map(int, item.box_xyxy)
        np.testing.assert_array_equal(crop, PICTURES[0][y1:y2, x1:x2])
        crop[:] = 7
    np.testing.assert_array_equal(prediction.frame.image, PICTURES[0])


def test_plain_values_are_json(prediction):
    record = json.loads(prediction.to_json())
    assert record == prediction.to_dict()
    assert (record["image"], record["width"], record["height"]) == ("image-0", 128, 128)
    assert {item["class"] for item in record["objects"]} == {"red", "blue"}


def test_tables_have_a_row_an_object(engine):
    pandas = pytest.importorskip("pandas")
    predictions = Predictor(engine)(PICTURES, confidence=0.5)
    table = predictions[0].to_pandas()
    assert list(table.columns) == ["x1", "y1", "x2", "y2", "score", "class_id", "class", "track"]
    assert len(table) == 2
    assert len(predictions[1].to_pandas()) == 0
    whole = predictions.to_pandas()
    assert isinstance(whole, pandas.DataFrame)
    assert whole["image"].tolist() == ["image-0", "image-0", "image-2"]


def test_a_table_without_pandas_says_what_to_install(prediction, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pip install pandas"):
        prediction.to_pandas()


def test_a_notebook_shows_pictures(engine):
    large = np.zeros((1600, 3200, 3), np.uint8)
    predictions = Predictor(engine)([*PICTURES, large], confidence=0.5)
    shown = Image.open(io.BytesIO(predictions[0]._repr_png_()))
    assert shown.size == (128, 128)
    assert Image.open(io.BytesIO(predictions[3]._repr_png_())).size == (1024, 512)
    page = predictions._repr_html_()
    assert page.count("data:image/jpeg;base64,") == 4
    assert "4 pictures: 2 red, 1 blue" in page


def test_iterating_makes_each_in_its_turn_and_indexing_keeps_them(engine):
    stream = Predictor(engine).predict(PICTURES)
    assert engine.shapes == []
    assert "made while iterating" in repr(stream)
    next(stream)
    assert len(engine.shapes) == 1
    assert len(list(stream)) == 2  # the rest

    kept = Predictor(engine).predict(PICTURES)
    before = len(engine.shapes)
    assert len(kept[0]) == 2
    assert len(engine.shapes) == before + 1  # no further than asked
    assert [len(prediction) for prediction in kept] == [2, 0, 1]
    assert [len(prediction) for prediction in kept] == [2, 0, 1]
    assert (len(kept), kept[-1] is kept[2], len(kept[1:])) == (3, True, 2)
    assert len(engine.shapes) == before + 3


def test_what_was_given_away_cannot_be_indexed(engine):
    stream = Predictor(engine).predict(PICTURES)
    next(stream)
    with pytest.raises(ConfigError, match="1 predictions were given while iterating and not kept"):
        stream[0]


def test_an_index_behind_the_last_is_python_s_own_error(engine):
    with pytest.raises(IndexError):
        Predictor(engine).predict(PICTURES)[3]

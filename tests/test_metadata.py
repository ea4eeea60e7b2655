"""What weights files say about themselves."""

from __future__ import annotations

import json

import pytest

from ghostyolo.errors import WeightsError
from ghostyolo.metadata import ModelMetadata


def header(**changes) -> str:
    return json.dumps({"model": "m", "class_names": ["a"], "imgsz": 64, **changes})


def test_what_is_written_is_read():
    metadata = ModelMetadata(model="m", class_names=["a"], imgsz=64, nms=False)
    assert ModelMetadata.from_json(metadata.to_json(), "m.onnx") == metadata


def test_files_older_than_the_end_to_end_head_need_nms():
    assert ModelMetadata.from_json(header(), "m.onnx").nms is True
    assert ModelMetadata.from_json(header(nms=False), "m.onnx").nms is False


def test_files_that_do_not_say_how_pictures_are_shrunk_are_bilinear():
    assert ModelMetadata.from_json(header(), "m.onnx").resize == "bilinear"
    assert ModelMetadata.from_json(header(resize="area"), "m.onnx").resize == "area"


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "not written by ghostyolo"), (header(nms="maybe"), "damaged or newer.*nms"), (header(later=1), "later")],
)
def test_other_headers_are_refused(text, message):
    with pytest.raises(WeightsError, match=message):
        ModelMetadata.from_json(text, "m.onnx")

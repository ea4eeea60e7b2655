"""From pictures to detections in pixels of each picture, with a detector whose answers are known."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
from PIL import Image

import ghostyolo
from ghostyolo.errors import ConfigError, GhostYoloError, SourceError
from ghostyolo.runtime.predictor import Predictor, load, plan_batch
from tests.runtime.colour_model import BLUE, GREEN, MODEL_PATH, RED, WHITE, ColourEngine, picture


@pytest.fixture(scope="module")
def predictor():
    return load(MODEL_PATH, threads=1)


def found(detections):
    """{(class name, x1, y1, x2, y2)} in whole pixels."""
    return {
        (str(name), *(round(float(corner)) for corner in box))
        for name, box in zip(detections.data["class_name"], detections.xyxy, strict=True)
    }


def test_objects_are_found_where_they_are(predictor):
    result = predictor.detect([picture(128, 128, (0, 0, RED), (3, 2, BLUE))], confidence=0.5)[0]
    assert found(result) == {("red", 0, 0, 32, 32), ("blue", 96, 64, 128, 96)}
    assert sorted(result.class_id.tolist()) == [RED, BLUE]
    np.testing.assert_allclose(result.confidence, 1, atol=1e-5)


def test_boxes_are_in_pixels_of_the_original_picture(predictor):
    # 256 x 128 is fitted to 128 x 64: a cell of 32 canvas pixels is 64 picture pixels.
    large = np.zeros((128, 256, 3), np.uint8)
    large[64:, 64:128] = (0, 255, 0)
    assert found(predictor.detect([large], confidence=0.5)[0]) == {("green", 64, 64, 128, 128)}


def test_padding_is_taken_off_and_boxes_are_clipped():
    # 128 x 80 on a canvas of 128 x 96 begins at row 8: the first row of cells reaches 8 pixels above it.
    image = np.full((80, 128, 3), 255, np.uint8)
    result = Predictor(ColourEngine()).detect([image], confidence=0.3)[0]
    assert {box[1:] for box in found(result)} == {
        (x, y1, x + 32, y2) for x in range(0, 128, 32) for y1, y2 in ((0, 24), (24, 56), (56, 80))
    }


def test_boxes_on_the_padding_alone_are_dropped():
    # One pixel high: the other cells of the square canvas are padding, without area on the picture.
    result = Predictor(ColourEngine()).detect([np.full((1, 128, 3), 255, np.uint8)], confidence=0, rect=False)[0]
    assert (result.xyxy[:, 3] > result.xyxy[:, 1]).all()


def test_picture_without_objects_gives_empty_detections(predictor):
    result = predictor.detect([picture(128, 128)])[0]
    assert len(result) == 0
    assert result.xyxy.shape == (0, 4)
    assert result.data["class_name"].shape == (0,)
    assert predictor.detect([]) == []


def test_batch_of_different_sizes_gives_what_each_alone_gives(predictor):
    images = [picture(128, 64, (3, 1, RED)), picture(64, 128, (1, 3, GREEN)), picture(128, 128, (2, 2, BLUE))]
    together = predictor.detect(images, confidence=0.5)
    alone = [predictor.detect([image], confidence=0.5)[0] for image in images]
    assert [found(result) for result in together] == [found(result) for result in alone]
    assert [len(result) for result in alone] == [1, 1, 1]


def test_rectangles_of_a_batch_share_the_smallest_canvas_that_holds_each():
    plans = plan_batch([(640, 320), (640, 400)], 320, 32, rect=True)
    assert {(plan.width, plan.height) for plan in plans} == {(320, 224)}
    assert [plan.scale for plan in plans] == [0.5, 0.5]
    assert [plan.top for plan in plans] == [32, 12]


def test_network_sees_rectangles_or_squares_scaled_to_0_1():
    engine = ColourEngine()
    predictor = Predictor(engine)
    predictor.detect([picture(128, 64)])
    predictor.detect([picture(128, 64)], rect=False)
    predictor.detect([picture(128, 64)] * 3, imgsz=256)
    assert engine.shapes == [(1, 3, 64, 128), (1, 3, 128, 128), (3, 3, 128, 256)]


@pytest.mark.parametrize(("resize", "value"), [("area", 10), ("bilinear", 0)])
def test_pictures_are_shrunk_as_the_metadata_says(resize, value):
    image = np.zeros((512, 512, 3), np.uint8)
    image[::4, ::4] = 160
    inputs = Predictor(ColourEngine(resize=resize)).prepare([image]).inputs
    np.testing.assert_allclose(inputs, value / 255)


def test_grey_rgba_and_two_dimensional_arrays_are_taken(predictor):
    rgb = picture(64, 64, (1, 0, WHITE))
    rgba = np.dstack([rgb, np.zeros((64, 64), np.uint8)])
    results = predictor.detect([rgb, rgb[:, :, 0], rgb[:, :, :1], rgba], imgsz=64, confidence=0.5)
    assert [found(result) for result in results] == [{("white", 32, 0, 64, 32)}] * 4


def test_a_grey_network_takes_colour_pictures():
    engine = ColourEngine(in_channels=1)
    results = Predictor(engine).detect([picture(64, 64, (1, 0, WHITE)), np.zeros((64, 64), np.uint8)], imgsz=64)
    assert engine.shapes == [(2, 1, 64, 64)]
    assert [found(result) for result in results] == [{("white", 32, 0, 64, 32)}, set()]


def test_a_network_of_many_channels_takes_arrays_and_npy_files(tmp_path):
    image = np.zeros((64, 64, 5), np.uint8)
    image[:32, 32:] = 255
    np.save(tmp_path / "a.npy", image)
    predictor = Predictor(ColourEngine(in_channels=5))
    predictions = list(predictor.predict([image, tmp_path / "a.npy"], imgsz=64))
    assert [found(prediction.detections) for prediction in predictions] == [{("white", 32, 0, 64, 32)}] * 2
    with pytest.raises(SourceError, match="has 3 channels, the network takes 5"):
        predictor.detect([picture(64, 64)])


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)])
def test_an_array_that_is_no_picture_is_refused(predictor, image):
    with pytest.raises(SourceError, match="must be uint8"):
        predictor.detect([image])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imgsz": 650}, "imgsz 650 is not a multiple of 32: the nearest valid one is 640"),
        ({"imgsz": 0}, "nearest valid one is 32"),
        ({"imgsz": -64}, "nearest valid one is 32"),
        ({"confidence": 1.5}, "'confidence' is 1.5: input should be less than or equal to 1"),
        ({"confidence": float("nan")}, "'confidence' is nan: input should be a finite number"),
        ({"iou": -0.1}, "'iou' is -0.1: input should be greater"),
        ({"max_detections": 0}, "'max_detections' is 0: input should be greater"),
        ({"confidance": 0.5}, "unknown key 'confidance': did you mean confidence"),
        ({"conf": 0.5, "confidence": 0.4}, "'confidence' is given twice, under two names"),
        ({"confidence": "auto"}, "these weights hold no best confidence"),
        ({"classes": "rde"}, "the model has no class 'rde': did you mean red"),
        ({"classes": []}, "'classes' is "),
        ({"class_confidence": {"rde": 0.5}}, "given for 'rde', no class of the model: did you mean red"),
        ({"class_confidence": {"red": 1.5}}, "class_confidence.red"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_read(predictor, options, message):
    with pytest.raises(ConfigError, match=message):
        predictor.predict(picture(64, 64), **options)


def test_multi_label_reports_a_box_once_for_each_class():
    class Both(ColourEngine):
        def __call__(self, images):
            boxes, scores = super().__call__(images)
            return boxes, np.full_like(scores, 0.6) * [1, 1, 0, 0]

    predictor = Predictor(Both())
    assert found(predictor.detect([picture(32, 32)], imgsz=32)[0]) == {("red", 0, 0, 32, 32)}
    both = predictor.detect([picture(32, 32)], imgsz=32, multi_label=True)[0]
    assert found(both) == {("red", 0, 0, 32, 32), ("green", 0, 0, 32, 32)}


def test_a_network_that_needs_no_nms_keeps_overlapping_boxes():
    class Twice(ColourEngine):
        def __call__(self, images):
            boxes, scores = super().__call__(images)
            return np.concatenate([boxes, boxes], 1), np.concatenate([scores, scores * 0.5], 1)

    image = picture(64, 64, (1, 0, RED))
    for nms, scores in ((True, [1.0]), (False, [1.0, 0.5])):
        result = Predictor(Twice(nms=nms)).detect([image], imgsz=64, confidence=0.3)[0]
        assert found(result) == {("red", 32, 0, 64, 32)}
        assert result.confidence.tolist() == pytest.approx(scores)
    assert len(Predictor(Twice(nms=False)).detect([image], imgsz=64, confidence=0.3, max_detections=1)[0]) == 1


def test_predictions_come_in_order_whatever_the_batch(predictor):
    images = [picture(128, 128, *[(column, 0, RED) for column in range(count)]) for count in (1, 0, 4, 2, 3)]
    for batch in (1, 2, 8):
        predictions = list(predictor.predict(images, batch=batch, confidence=0.5))
        assert [len(prediction.detections) for prediction in predictions] == [1, 0, 4, 2, 3]
        assert [prediction.frame.name for prediction in predictions] == [f"image-{index}" for index in range(5)]
        assert all(prediction.milliseconds > 0 for prediction in predictions)


def test_broken_pictures_among_others_are_reported_once(predictor, tmp_path, caplog):
    Image.fromarray(picture(64, 64)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    Image.fromarray(picture(64, 64)).save(tmp_path / "c.png")
    with caplog.at_level(logging.WARNING):
        assert len(list(predictor.predict(tmp_path))) == 2
    # Other tests import ultralytics, which wraps Pillow's reader and warns by a logger of its own.
    warnings = [record.getMessage() for record in caplog.records if record.name.startswith("ghostyolo")]
    assert "skipped b.png: " in warnings[0]
    assert warnings[1] == "1 of 3 sources were skipped"


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def unusual_pictures() -> dict[str, bytes]:
    """A 128 x 64 picture, red (white where there is no colour) in its top right cell, as unusual files."""
    red = Image.fromarray(picture(128, 64, (3, 0, RED)))
    white = Image.fromarray(picture(128, 64, (3, 0, WHITE)))
    turned = Image.Exif()
    turned[0x0112] = 6  # stored lying on its side: turn a quarter clockwise to show
    deep = np.asarray(white.convert("L")).astype(np.uint16) * 257
    transparent = red.convert("RGBA")
    transparent.putalpha(128)
    return {
        "rotated.jpg": encoded(red.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=turned, quality=95),
        "grey.png": encoded(white.convert("L"), "PNG"),
        "grey.jpg": encoded(white.convert("L"), "JPEG"),
        "bits.png": encoded(white.convert("1"), "PNG"),
        "rgba.png": encoded(transparent, "PNG"),
        "deep.png": encoded(Image.fromarray(deep), "PNG"),
        "deep.tif": encoded(Image.fromarray(deep), "TIFF"),
        "cmyk.jpg": encoded(red.convert("CMYK"), "JPEG", quality=95),
        "cmyk.tif": encoded(red.convert("CMYK"), "TIFF"),
        "palette.png": encoded(red.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        "palette.gif": encoded(red.convert("P", palette=Image.Palette.ADAPTIVE), "GIF"),
        "plain.webp": encoded(red, "WEBP", lossless=True),
    }


@pytest.mark.parametrize("name", sorted(unusual_pictures()))
@pytest.mark.parametrize("opened", ["path", "PIL"])
def test_unusual_picture_files(predictor, tmp_path, name, opened):
    path = tmp_path / name
    path.write_bytes(unusual_pictures()[name])
    source = path if opened == "path" else Image.open(path)
    prediction = next(predictor.predict(source, confidence=0.5))
    colour = "white" if name.split(".")[0] in ("grey", "bits", "deep") else "red"
    assert found(prediction.detections) == {(colour, 96, 0, 128, 32)}
    assert prediction.frame.image.shape == (64, 128, 3)


def test_load_is_the_public_face_and_knows_its_classes():
    predictor = ghostyolo.load(MODEL_PATH)
    assert predictor.class_names == ["red", "green", "blue", "white"]
    assert predictor.metadata.imgsz == 128
    assert predictor.engine.name == "onnxruntime"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda predictor: predictor.predict(None), "a source is a path, glob, URL, .* not NoneType"),
        (
            lambda predictor: predictor.predict("a.png", imgsz=(64, 96)),
            r"imgsz must be the side of a square.*\(64, 96\)",
        ),
        (
            lambda predictor: predictor.predict("a.png", confidence="0.5"),
            "'confidence' is '0.5': input should be a valid number",
        ),
        (lambda predictor: predictor.predict("a.png", batch=2.5), "batch must be a whole number, not 2.5"),
        (lambda predictor: predictor.detect(picture(64, 64)), r"one of shape \(64, 64, 3\): detect\(\[image\]\)"),
        (lambda predictor: predictor.detect("a.png"), r"detect takes a list of \(H, W, C\) arrays, not str"),
        (lambda predictor: predictor.detect(["a.png"]), r"must be a uint8 array \(H, W, C\), not str"),
        (lambda predictor: predictor.detect([picture(64, 64)], max_detections=2.5), "'max_detections' is 2.5"),
        (lambda predictor: load(None), "weights are a name, a path or an address, not NoneType"),
        (lambda predictor: load(MODEL_PATH, device=None), "device must be a text"),
        (lambda predictor: load(MODEL_PATH, threads="2"), "threads must be a whole number, not '2'"),
    ],
)
def test_python_calls_of_a_wrong_type_are_our_errors(predictor, call, message):
    with pytest.raises(GhostYoloError, match=message):
        call(predictor)


def test_a_batch_of_pictures_may_be_one_array(predictor):
    images = np.stack([picture(64, 64, (0, 0, RED)), picture(64, 64)])
    assert [len(found) for found in predictor.detect(images)] == [4, 0]


def test_a_mirrored_pass_finds_what_the_first_misses_at_its_place():
    class RightHalf(ColourEngine):
        """Blind on the left half of the canvas."""

        def __call__(self, images):
            boxes, scores = super().__call__(images)
            scores = scores.copy()
            scores[boxes[..., 0] < images.shape[3] / 2] = 0
            return boxes, scores

    image = picture(128, 128, (0, 1, RED), (3, 2, BLUE))
    predictor = Predictor(RightHalf())
    assert found(predictor.detect([image], confidence=0.5)[0]) == {("blue", 96, 64, 128, 96)}
    both = {("red", 0, 32, 32, 64), ("blue", 96, 64, 128, 96)}
    assert found(predictor.detect([image], confidence=0.5, tta=True, vote=True)[0]) == both
    assert found(next(predictor.predict(image, confidence=0.5, tta=True)).detections) == both


def test_a_network_of_not_a_number_is_an_error_and_no_empty_picture():
    class Diverged(ColourEngine):
        def __call__(self, images):
            boxes, scores = super().__call__(images)
            return boxes, scores * np.float32("nan")

    with pytest.raises(GhostYoloError, match="not finite numbers"):
        Predictor(Diverged()).detect([picture(64, 64)])


def test_the_usual_short_names_mean_the_same(predictor):
    image = picture(128, 128, (0, 0, RED), (3, 2, BLUE))
    long = predictor.detect([image], confidence=0.4, max_detections=1)[0]
    short = predictor.detect([image], conf=0.4, max_det=1)[0]
    assert found(short) == found(long)
    assert len(short) == 1


@pytest.mark.parametrize("classes", ["blue", BLUE, ["blue"], ("2",), [np.int64(2)]])
def test_wanted_classes_alone_are_reported(predictor, classes):
    image = picture(128, 128, (0, 0, RED), (3, 2, BLUE))
    assert found(predictor.detect([image], confidence=0.5, classes=classes)[0]) == {("blue", 96, 64, 128, 96)}


def test_unwanted_classes_take_no_place_among_the_best(predictor):
    image = picture(128, 128, (0, 0, RED), (1, 1, RED), (3, 2, BLUE))
    assert found(predictor.detect([image], classes=["blue"], max_detections=1)[0]) == {("blue", 96, 64, 128, 96)}


def test_auto_takes_the_best_confidence_of_each_class():
    from ghostyolo.metadata import BestConfidence

    dim = picture(64, 64, (0, 0, RED), (1, 1, BLUE)) // 2  # each scores a half
    engine = ColourEngine(best_confidence=BestConfidence(overall=0.3, per_class={"red": 0.9}))
    assert found(Predictor(engine).detect([dim], imgsz=64, confidence="auto")[0]) == {("blue", 32, 32, 64, 64)}
    own = Predictor(engine).detect([dim], imgsz=64, confidence="auto", class_confidence={"red": 0.1})[0]
    assert len(own) == 2


def test_arrays_of_opencv_have_blue_first(predictor):
    image = picture(128, 128, (0, 0, RED))
    expected = {("red", 0, 0, 32, 32)}
    assert found(predictor.detect([image[:, :, ::-1]], confidence=0.5, bgr=True)[0]) == expected
    (prediction,) = predictor.predict(image[:, :, ::-1], confidence=0.5, bgr=True)
    assert found(prediction.detections) == expected
    np.testing.assert_array_equal(prediction.frame.image, image)
    rgba = np.dstack([image[:, :, ::-1], np.full((128, 128), 255, np.uint8)])
    assert found(predictor.detect([rgba], confidence=0.5, bgr=True)[0]) == expected


def test_files_are_read_in_their_own_colours_whatever_arrays_have(predictor, tmp_path):
    Image.fromarray(picture(128, 128, (0, 0, RED))).save(tmp_path / "a.png")
    assert found(predictor.predict(tmp_path, bgr=True)[0].detections) == {("red", 0, 0, 32, 32)}


def test_a_call_detects_at_once_and_keeps_the_results():
    engine = ColourEngine()
    predictions = Predictor(engine)([picture(128, 128, (0, 0, RED))] * 2)
    assert len(engine.shapes) == 2
    assert [len(prediction) for prediction in predictions] == [1, 1]
    assert len(predictions) == 2
    assert len(engine.shapes) == 2


def test_reprs_are_one_short_line(predictor):
    prediction = predictor(picture(128, 128, (0, 0, RED)))[0]
    assert repr(predictor) == "Predictor(colours, 4 classes, onnxruntime)"
    assert repr(prediction) == "Prediction(image-0, 128 x 128: 1 red)"
    assert repr(prediction.frame).startswith("Frame(name='image-0'")

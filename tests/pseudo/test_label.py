"""Pseudo-labels agree with the predictor after the round trip, never reach val, and appear whole or not at all."""

from __future__ import annotations

import json
import os
import shutil

import cv2
import numpy as np
import pytest
import yaml

from ghostyolo.data.check import check_dataset
from ghostyolo.data.formats import load_dataset, write_dataset
from ghostyolo.errors import ConfigError, DataError, OutputError, SourceError
from ghostyolo.pseudo.dataset import Thresholds
from ghostyolo.pseudo.label import pseudo_label, raise_thresholds
from ghostyolo.runtime.predictor import Predictor, load
from tests.runtime.colour_model import BLUE, CELL, CLASS_NAMES, GREEN, MODEL_PATH, RED, ColourEngine, picture

SIDE = 4 * CELL


@pytest.fixture
def predictor():
    return Predictor(ColourEngine())


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[:, :, ::-1])
    return path


def dim(image, share):
    """A picture whose scores are this share of 1."""
    return np.rint(image * share).astype(np.uint8)


@pytest.fixture
def photos(tmp_path):
    """a: red and blue, score 1; b: green, score 0.62; c: black."""
    save(tmp_path / "photos" / "a.png", picture(SIDE, SIDE, (0, 0, RED), (2, 3, BLUE)))
    save(tmp_path / "photos" / "b.png", dim(picture(SIDE, SIDE, (1, 1, GREEN)), 0.62))
    save(tmp_path / "photos" / "c.png", picture(SIDE, SIDE))
    return tmp_path / "photos"


@pytest.fixture
def labelled(tmp_path):
    """Hand-made labels of one train and one val picture, the classes in another order than the model's."""
    root = tmp_path / "labelled"
    names = CLASS_NAMES[::-1]
    for split, cell in (("train", (3, 3, RED)), ("val", (3, 0, GREEN))):
        save(root / "images" / split / "a.png", picture(SIDE, SIDE, cell))
        row = f"{names.index(CLASS_NAMES[cell[2]])} {(cell[0] + 0.5) / 4} {(cell[1] + 0.5) / 4} 0.25 0.25\n"
        (root / "labels" / split).mkdir(parents=True)
        (root / "labels" / split / "a.txt").write_text(row)
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {json.dumps(names)}\n")
    return root


def by_name(records):
    return {record.path.name: record for record in records}


@pytest.mark.parametrize("nms", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_labels_are_what_the_predictor_finds(photos, tmp_path, nms, batch):
    predictor = Predictor(ColourEngine(nms=nms))
    save(photos / "wide.png", cv2.resize(picture(SIDE, 2 * CELL, (1, 0, RED), (3, 1, BLUE)), (331, 166)))
    pseudo_label(predictor, photos, tmp_path / "out", batch=batch)
    data = load_dataset(tmp_path / "out")
    assert data.class_names == CLASS_NAMES
    records = by_name(data.splits["train"])
    assert sorted(records) == ["a.png", "b.png", "wide.png"]
    for prediction in predictor.predict(photos, confidence=0.5, batch=batch):
        if len(prediction.detections):
            record = records[prediction.frame.name]
            np.testing.assert_allclose(record.boxes_xyxy, prediction.detections.xyxy, atol=0.01)
            assert record.labels.tolist() == prediction.detections.class_id.tolist()


def test_real_weights_round_trip(tmp_path):
    pytest.importorskip("onnxruntime")
    predictor = load("digits", threads=1)
    from ghostyolo.runtime.weights import resolve_weights

    pictures = sorted((resolve_weights("digits").parent / "pictures").glob("digits-[12].jpg"))
    report = pseudo_label(predictor, pictures, tmp_path / "out")
    records = by_name(load_dataset(tmp_path / "out").splits["train"])
    assert report.labelled == len(records) == 2
    for prediction in predictor.predict(pictures, confidence=0.5):
        np.testing.assert_allclose(records[prediction.frame.name].boxes_xyxy, prediction.detections.xyxy, atol=0.01)


def test_pictures_without_a_sure_object_are_left_out_or_kept_as_background(photos, predictor, tmp_path):
    save(photos / "dim.png", dim(picture(SIDE, SIDE, (0, 0, RED)), 0.3))
    left_out = pseudo_label(predictor, photos, tmp_path / "out")
    assert (left_out.labelled, left_out.background, left_out.unsure) == (2, 0, 2)
    kept = pseudo_label(predictor, photos, tmp_path / "kept", thresholds=Thresholds(background=0.1))
    assert (kept.labelled, kept.background, kept.unsure) == (2, 1, 1)  # 0.3 is neither sure nor nothing
    records = by_name(load_dataset(tmp_path / "kept").splits["train"])
    assert sorted(records) == ["a.png", "b.png", "c.png"]
    assert len(records["c.png"].labels) == 0


def with_green(confidence: float, green: float) -> Thresholds:
    return Thresholds(confidence=confidence, class_confidence={"green": green})


def test_a_class_may_have_a_threshold_of_its_own(photos, predictor, tmp_path):
    report = pseudo_label(predictor, photos, tmp_path / "out", thresholds=with_green(0.9, 0.55))
    assert report.boxes == {"red": 1, "green": 1, "blue": 1, "white": 0}
    report = pseudo_label(predictor, photos, tmp_path / "strict", thresholds=with_green(0.5, 0.65))
    assert (report.boxes["green"], report.unsure) == (0, 2)


def test_report_and_sidecar_hold_counts_and_scores(photos, predictor, tmp_path):
    (photos / "broken.jpg").write_bytes(b"no picture")
    save(photos / "again.png", picture(SIDE, SIDE, (0, 0, RED), (2, 3, BLUE)))
    pseudo_label(predictor, photos, tmp_path / "out", weights="colours.onnx")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    left_out = {"unsure": 1, "repeated": 1, "already_labelled": 0, "unreadable": 1}
    assert report["pictures"] == {"labelled": 2, "background": 0, "left_out": left_out}
    assert report["boxes"] == {"all": 3, "classes": {"red": 1, "green": 1, "blue": 1, "white": 0}}
    assert [row["boxes"] for row in report["scores"]] == [0, 0, 0, 0, 0, 0, 1, 0, 0, 2]
    assert report["scores"][6] == {"from": 0.6, "to": 0.7, "boxes": 1}
    assert (report["weights"], report["confidence"]) == ("colours.onnx", 0.5)
    assert report["skipped"][0]["image"] == "broken.jpg"
    sidecar = json.loads((tmp_path / "out" / "pseudo-labels.json").read_text())
    (green,) = [entry for entry in sidecar["pictures"] if entry["image"] == "images/pseudo/b.png"]
    assert green["source"] == str(photos / "b.png")
    assert green["objects"] == [
        {"box_xyxy": [32, 32, 64, 64], "score": pytest.approx(158 / 255, abs=1e-5), "class_id": GREEN, "class": "green"}
    ]


def test_added_to_labelled_data_trains_on_both_and_validates_on_the_labelled_alone(
    photos, labelled, predictor, tmp_path
):
    report = pseudo_label(predictor, photos, tmp_path / "out", add_to=labelled)
    assert report.added_to == {"train": 1, "val": 1}
    content = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert (content["train"], content["val"]) == (["images/train", "images/pseudo"], "images/val")
    shutil.move(tmp_path / "out", tmp_path / "moved")
    shutil.rmtree(labelled)
    shutil.rmtree(photos)
    data = load_dataset(tmp_path / "moved")
    assert data.class_names == CLASS_NAMES[::-1]
    found = [
        [(record.path.parent.name, data.class_names[label]) for record in records for label in record.labels]
        for records in (data.splits["train"], data.splits["val"])
    ]
    assert found == [
        [("train", "red"), ("pseudo", "red"), ("pseudo", "blue"), ("pseudo", "green")],
        [("val", "green")],
    ]
    assert check_dataset(tmp_path / "moved").count("error") == 0


@pytest.mark.parametrize("layout", ["coco", "voc"])
def test_labelled_data_of_any_layout_is_added_to(photos, labelled, predictor, tmp_path, layout):
    write_dataset(load_dataset(labelled), tmp_path / "other", layout)
    pseudo_label(predictor, photos, tmp_path / "out", add_to=tmp_path / "other")
    data = load_dataset(tmp_path / "out")
    assert [len(data.splits[split]) for split in ("train", "val")] == [3, 1]
    assert data.class_names[data.splits["val"][0].labels[0]] == "green"


def test_a_labelled_picture_under_another_name_gets_no_pseudo_labels(photos, labelled, predictor, tmp_path):
    shutil.copy(labelled / "images" / "val" / "a.png", photos / "the-val-picture.png")
    report = pseudo_label(predictor, photos, tmp_path / "out", add_to=labelled)
    assert report.already_labelled == 1
    assert "the-val-picture.png" not in by_name(load_dataset(tmp_path / "out").splits["train"])


def test_pictures_of_one_name_keep_their_own_labels(predictor, tmp_path):
    save(tmp_path / "in" / "x" / "a.png", picture(SIDE, SIDE, (0, 0, RED)))
    save(tmp_path / "in" / "y" / "A.bmp", picture(SIDE, SIDE, (0, 0, BLUE)))
    pseudo_label(predictor, str(tmp_path / "in" / "**" / "*.*"), tmp_path / "out")
    records = by_name(load_dataset(tmp_path / "out").splits["train"])
    assert {name: record.labels.tolist() for name, record in records.items()} == {"a.png": [RED], "A-2.bmp": [BLUE]}


def test_pictures_are_copied_or_linked_as_asked(photos, labelled, predictor, tmp_path):
    pseudo_label(predictor, photos, tmp_path / "copied")
    pseudo_label(predictor, photos, tmp_path / "linked", add_to=labelled, link=True)
    assert not os.path.samefile(photos / "a.png", tmp_path / "copied/images/pseudo/a.png")
    assert os.path.samefile(photos / "a.png", tmp_path / "linked/images/pseudo/a.png")
    assert os.path.samefile(labelled / "images/val/a.png", tmp_path / "linked/images/val/a.png")
    shutil.rmtree(photos)
    assert len(load_dataset(tmp_path / "linked").splits["train"]) == 3


def test_where_links_are_impossible_one_line_says_so(photos, predictor, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OutputError, match=r"cannot link .*cross-device link; copy it instead"):
        pseudo_label(predictor, photos, tmp_path / "out", link=True)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_thresholds_are_raised_without_a_detector(photos, labelled, predictor, tmp_path):
    first = Thresholds(background=0.1)
    pseudo_label(predictor, photos, tmp_path / "first", thresholds=first, add_to=labelled, weights="w")
    report = raise_thresholds(tmp_path / "first", tmp_path / "again", thresholds=Thresholds(confidence=0.7))
    assert (report.labelled, report.background, report.unsure) == (1, 1, 1)
    assert report.added_to == {"train": 1, "val": 1}
    again = load_dataset(tmp_path / "again")
    fresh = Thresholds(confidence=0.7, background=0.1)
    pseudo_label(predictor, photos, tmp_path / "fresh", thresholds=fresh, add_to=labelled, weights="w")
    expected = load_dataset(tmp_path / "fresh")
    for split in ("train", "val"):
        assert [record.path.name for record in again.splits[split]] == [
            record.path.name for record in expected.splits[split]
        ]
        for one, other in zip(again.splits[split], expected.splits[split], strict=True):
            np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=0.01)
            assert one.labels.tolist() == other.labels.tolist()
    stored = json.loads((tmp_path / "again" / "report.json").read_text())
    assert (stored["weights"], stored["confidence"], stored["background_confidence"]) == ("w", 0.7, 0.1)


def test_pictures_deleted_since_are_skipped_when_thresholds_are_raised(photos, predictor, tmp_path):
    pseudo_label(predictor, photos, tmp_path / "first")
    (tmp_path / "first" / "images" / "pseudo" / "b.png").unlink()
    report = raise_thresholds(tmp_path / "first", tmp_path / "out", thresholds=Thresholds(confidence=0.55))
    assert (report.labelled, [reason for _, reason in report.skipped]) == (1, ["no such picture"])


def test_lower_thresholds_than_before_need_the_detector(photos, predictor, tmp_path):
    pseudo_label(predictor, photos, tmp_path / "first", thresholds=with_green(0.5, 0.55))
    with pytest.raises(ConfigError, match=r"red: .* scores above 0.5 only, not 0.4"):
        raise_thresholds(tmp_path / "first", tmp_path / "out", thresholds=Thresholds(confidence=0.4))
    with pytest.raises(ConfigError, match=r"green: .* scores above 0.55 only, not 0.5"):
        raise_thresholds(tmp_path / "first", tmp_path / "out", thresholds=Thresholds(confidence=0.5))
    stored = json.loads((tmp_path / "first" / "pseudo-labels.json").read_text())
    (tmp_path / "first" / "pseudo-labels.json").write_text('{"pictures": []}')
    with pytest.raises(DataError, match="damaged"):
        raise_thresholds(tmp_path / "first", tmp_path / "out", thresholds=Thresholds(confidence=0.9))
    stored["pictures"][0]["objects"][0]["class_id"] = 4
    (tmp_path / "first" / "pseudo-labels.json").write_text(json.dumps(stored))
    with pytest.raises(DataError, match="damaged"):
        raise_thresholds(tmp_path / "first", tmp_path / "out", thresholds=Thresholds(confidence=0.9))
    with pytest.raises(DataError, match=r"holds no pseudo-labels\.json"):
        raise_thresholds(photos, tmp_path / "out", thresholds=Thresholds(confidence=0.9))


def test_other_classes_are_refused_before_any_picture_is_read(photos, labelled, predictor, tmp_path):
    text = (labelled / "data.yaml").read_text()
    (labelled / "data.yaml").write_text(text.replace("white", "grey"))
    with pytest.raises(ConfigError, match="class 'white' is not in the data, and the data's 'grey'"):
        pseudo_label(predictor, photos, tmp_path / "out", add_to=labelled)
    (labelled / "data.yaml").write_text(text.replace("white", 'white", "grey'))
    with pytest.raises(ConfigError, match=r"the model has 4 classes .* the data 5"):
        pseudo_label(predictor, photos, tmp_path / "out", add_to=labelled)
    assert not predictor.engine.shapes
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"confidence": 1.5}, "'confidence' is 1.5: input should be less than or equal to 1"),
        ({"background": -1}, "'background' is -1: input should be greater than or equal to 0"),
        ({"class_confidence": {"red": 7}}, r"'class_confidence\.red' is 7: input should be less"),
        ({"class_confidence": {"gren": 0.7}}, "'gren', no class of the model: did you mean green"),
    ],
)
def test_impossible_thresholds_are_refused(photos, predictor, tmp_path, values, message):
    with pytest.raises(ConfigError, match=message):
        pseudo_label(predictor, photos, tmp_path / "out", thresholds=Thresholds.from_dict(values))


def test_confidence_beside_the_thresholds_is_refused(photos, predictor, tmp_path):
    with pytest.raises(ConfigError, match="'confidence' of pseudo-labels is one of their thresholds"):
        pseudo_label(predictor, photos, tmp_path / "out", confidence=0.9)
    assert not (tmp_path / "out").exists()


def test_nothing_sure_enough_is_an_error_and_leaves_nothing(photos, predictor, tmp_path):
    with pytest.raises(DataError, match=r"no picture gets a label: 1 have no detection above 0.5"):
        pseudo_label(predictor, photos / "c.png", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_what_is_no_picture_file_is_refused(photos, predictor, tmp_path):
    (photos / "clip.mp4").write_bytes(b"")
    with pytest.raises(SourceError, match=r"clip\.mp4 is a video"):
        pseudo_label(predictor, photos, tmp_path / "out")
    with pytest.raises(SourceError, match="need picture files"):
        pseudo_label(predictor, "https://example.org/a.jpg", tmp_path / "out")
    with pytest.raises(SourceError, match="does not exist"):
        pseudo_label(predictor, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "torn").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "torn" / name).write_bytes(b"no picture")
    with pytest.raises(SourceError, match="none of the 2 sources can be read"):
        pseudo_label(predictor, tmp_path / "torn", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_refused(photos, predictor, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="out exists: choose a new folder"):
        pseudo_label(predictor, photos, tmp_path / "out")
    assert not predictor.engine.shapes


def test_an_interrupted_run_leaves_nothing(photos, predictor, tmp_path):
    class Interrupted(ColourEngine):
        def __call__(self, images):
            if self.shapes:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        pseudo_label(Predictor(Interrupted()), photos, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_an_exported_file_gives_the_same_labels(photos, predictor, tmp_path):
    pseudo_label(load(MODEL_PATH, threads=1), photos, tmp_path / "onnx")
    pseudo_label(predictor, photos, tmp_path / "numpy")
    for one, other in zip(
        load_dataset(tmp_path / "onnx").splits["train"], load_dataset(tmp_path / "numpy").splits["train"], strict=True
    ):
        assert one.path.name == other.path.name
        np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=0.01)

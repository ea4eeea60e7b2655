"""COCO and Pascal VOC layouts, and telling the layouts apart."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest

from ghostyolo.data.formats import load_dataset
from ghostyolo.errors import DataError
from tests.data.builders import coco, picture, text, voc_xml, yolo

IMAGES = [{"id": 40, "file_name": "a.png", "width": 100, "height": 50}, {"id": 2, "file_name": "b.png"}]


def box(**changes) -> dict:
    return {"id": 1, "image_id": 40, "category_id": 3, "bbox": [10, 5, 20, 30], "iscrowd": 0, **changes}


def test_coco_ids_become_labels_in_their_order_and_crowds_are_ignored(tmp_path):
    annotations = [box(), box(id=2, category_id=7, iscrowd=1, bbox=[90, 40, 50, 50])]
    data = load_dataset(coco(tmp_path, IMAGES, annotations))
    assert (data.layout, data.class_names, list(data.splits)) == ("coco", ["cat", "dog"], ["val"])
    first, second = data.splits["val"]
    assert (first.image_id, second.image_id) == (40, 2)
    assert (first.width, first.height) == (100, 50)
    np.testing.assert_allclose(first.boxes_xyxy, [[10, 5, 30, 35], [90, 40, 100, 50]])
    assert first.labels.tolist() == [0, 1]
    assert first.ignore.tolist() == [False, True]
    assert len(second.labels) == 0
    assert data.skipped == []


def test_coco_areas_are_the_stated_ones_and_the_boxes_where_none_is_stated(tmp_path):
    (first, _) = load_dataset(coco(tmp_path, IMAGES, [box(area=150.5), box(id=2), box(id=3, area=-1)])).splits["val"]
    assert first.areas.tolist() == [150.5, 600.0, 600.0]
    assert first.difficult is None


@pytest.mark.parametrize("where", ["annotations", "annotations/instances_val2017.json"])
def test_coco_is_found_from_its_annotations_too(tmp_path, where):
    coco(tmp_path, IMAGES, [box()])
    assert len(load_dataset(tmp_path / where).splits["val"]) == 2


def test_coco_beside_its_pictures_as_exporters_write_it(tmp_path):
    for split in ("train", "valid"):
        picture(tmp_path / split / "a.png")
        content = {"images": IMAGES[:1], "annotations": [box()], "categories": [{"id": 3, "name": "cat"}]}
        text(tmp_path / split / "_annotations.coco.json", json.dumps(content))
    data = load_dataset(tmp_path)
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 1, "val": 1}
    assert len(load_dataset(tmp_path / "valid/_annotations.coco.json").splits["val"]) == 1


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (box(bbox=[1, 2, float("nan"), 4]), "annotation 1: bbox .*not four finite numbers"),
        (box(bbox=[1, 2, 3]), "annotation 1: bbox"),
        (box(category_id=5), "annotation 1: category 5 is not among the categories"),
    ],
)
def test_a_bad_coco_annotation_is_refused(tmp_path, annotation, message):
    with pytest.raises(DataError, match=rf"instances_val2017\.json: {message}"):
        load_dataset(coco(tmp_path, IMAGES, [annotation]))


def test_json_that_is_not_cocos_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a data set: it is of none of the layouts known"):
        load_dataset(text(tmp_path / "results.json", "[]"))
    with pytest.raises(DataError, match="not COCO's JSON"):
        load_dataset(text(tmp_path / "half.json", '{"images": []}'))
    with pytest.raises(DataError, match="not readable JSON"):
        load_dataset(text(tmp_path / "cut.json", '{"images": ['))


def test_coco_without_its_pictures_says_where_it_looked(tmp_path):
    coco(tmp_path, IMAGES, [])
    shutil.rmtree(tmp_path / "val2017")
    with pytest.raises(DataError, match=r"none of its pictures \(a\.png \.\.\.\) is in "):
        load_dataset(tmp_path)


def voc(root, **files: str):
    for seed, (stem, xml) in enumerate(files.items()):
        picture(root / "JPEGImages" / f"{stem}.png", seed=seed)
        text(root / "Annotations" / f"{stem}.xml", xml)
    text(root / "ImageSets/Main/train.txt", "\n".join(files))
    return root


def test_voc_takes_coordinates_as_written_and_ignores_difficult(tmp_path):
    objects = [("dog", (1, 1, 30, 40), 0), ("cat", (50.5, 10, 120, 20), 1)]
    data = load_dataset(voc(tmp_path, a=voc_xml(objects, "stale-name.jpg")))
    assert (data.layout, data.class_names) == ("voc", ["cat", "dog"])
    (record,) = data.splits["train"]
    assert (record.width, record.height) == (100, 50)
    np.testing.assert_allclose(record.boxes_xyxy, [[1, 1, 30, 40], [50.5, 10, 100, 20]])
    assert record.labels.tolist() == [1, 0]
    assert record.ignore.tolist() == [False, True]
    assert record.difficult.tolist() == [False, True]  # one object each, not a crowd
    assert not record.crowd.any()


def test_voc_labels_are_the_same_whichever_split_is_read(tmp_path):
    voc(tmp_path, a=voc_xml([("dog", (1, 1, 30, 40), 0)]), b=voc_xml([("cat", (1, 1, 30, 40), 0)]))
    text(tmp_path / "ImageSets/Main/train.txt", "a\n")
    text(tmp_path / "ImageSets/Main/val.txt", "b\n")
    text(tmp_path / "ImageSets/Main/trainval.txt", "a\nb\n")
    text(tmp_path / "ImageSets/Main/dog_train.txt", "a 1\n")
    assert list(load_dataset(tmp_path).splits) == ["train", "val"]
    assert load_dataset(tmp_path, ["train"]).class_names == ["cat", "dog"]
    assert len(load_dataset(tmp_path, ["trainval"]).splits["trainval"]) == 2


def test_voc_without_lists_is_one_split(tmp_path):
    shutil.rmtree(voc(tmp_path, a=voc_xml([])) / "ImageSets")
    assert list(load_dataset(tmp_path).splits) == ["all"]


def test_voc_pictures_that_are_gone_are_skipped(tmp_path):
    voc(tmp_path, a=voc_xml([]), b=voc_xml([], "b.png"))
    (tmp_path / "JPEGImages/b.png").unlink()
    data = load_dataset(tmp_path)
    assert [record.path.stem for record in data.splits["train"]] == ["a"]
    assert data.skipped == [(tmp_path / "JPEGImages/b.png", "no such picture")]


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (voc_xml([("dog", (1, "nan", 30, 40), 0)]), "object 1: bndbox has a NaN"),
        (voc_xml([("dog", (1, "x", 30, 40), 0)]), "object 1: bndbox is not four numbers"),
        ("<annotation><object>", "is not readable XML"),
    ],
)
def test_a_bad_voc_file_is_refused(tmp_path, xml, message):
    with pytest.raises(DataError, match=rf"a\.xml: {message}"):
        load_dataset(voc(tmp_path, a=xml))


def test_voc_class_outside_a_given_list_is_refused(tmp_path):
    text(voc(tmp_path, a=voc_xml([("dog", (1, 1, 30, 40), 0)])) / "classes.txt", "cat\nbird\n")
    with pytest.raises(DataError, match="object 1: class 'dog' is not in the list"):
        load_dataset(tmp_path)


def test_a_path_that_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load_dataset(tmp_path / "none")
    with pytest.raises(DataError, match="is an empty folder"):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match="is not a data set"):
        load_dataset(text(tmp_path / "notes.txt", "hello"))
    with pytest.raises(DataError, match=r"it holds 1 \.txt; looked for .*\(COCO\).*\(Pascal VOC\).*\(YOLO\)"):
        load_dataset(tmp_path)


def test_a_data_set_one_folder_down_is_found(tmp_path):
    yolo(tmp_path / "unpacked", {"train/a": ""})
    assert load_dataset(tmp_path).root == tmp_path / "unpacked"


def test_yolo_goes_before_coco_when_a_folder_has_both(neu_det):
    begin = time.process_time()
    data = load_dataset(neu_det)
    assert time.process_time() - begin < 5  # about 1 s
    assert data.layout == "yolo"
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 1440, "val": 180}
    assert data.skipped == []


def test_neu_det_is_the_same_in_both_layouts(neu_det):
    as_yolo = {record.path.name: record for record in load_dataset(neu_det, ["val"]).splits["val"]}
    as_coco = load_dataset(neu_det / "annotations", ["val"])
    assert as_coco.class_names == load_dataset(neu_det, ["val"]).class_names
    assert len(as_coco.splits["val"]) == len(as_yolo) == 180
    for record in as_coco.splits["val"]:
        twin = as_yolo[record.path.name]
        order = np.lexsort(record.boxes_xyxy.T)
        other = np.lexsort(twin.boxes_xyxy.T.round(2))
        assert sorted(record.labels.tolist()) == sorted(twin.labels.tolist())
        np.testing.assert_allclose(record.boxes_xyxy[order], twin.boxes_xyxy[other], atol=0.02)


def test_bccd_is_read(bccd):
    data = load_dataset(bccd)
    assert (data.layout, data.class_names) == ("voc", ["Platelets", "RBC", "WBC"])
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 205, "val": 87}
    first = data.splits["val"][0]
    assert first.path.name == "BloodImage_00000.jpg"
    assert first.boxes_xyxy[0].tolist() == [260, 177, 491, 376]

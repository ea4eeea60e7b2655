"""Nothing is lost in silence when a data set is read: each test names the kind of fault that it holds."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from ghostyolo.data.check import check_dataset, write_clean_copy
from ghostyolo.data.formats import load_dataset
from ghostyolo.errors import DataError
from tests.data.builders import picture, text, voc_xml, yolo

ROW = "0 0.5 0.5 0.2 0.4\n"
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]


def faults(data, kind: str) -> list[str]:
    return [fault.message for fault in data.faults if fault.kind == kind]


def annotation(image_id, identity=1, **changes) -> dict:
    return {"id": identity, "image_id": image_id, "category_id": 3, "bbox": [10, 5, 20, 30], **changes}


def coco_json(path, images, annotations, categories=CATEGORIES):
    return text(path, json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def voc(root, stems, xml=None, size=(100, 50)):
    for seed, stem in enumerate(stems):
        picture(root / f"JPEGImages/{stem}.png", seed=seed)
        text(root / f"Annotations/{stem}.xml", xml or voc_xml([("cat", (10, 5, 30, 35), 0)], f"{stem}.png", size))
    text(root / "ImageSets/Main/train.txt", "\n".join(stems))
    return root


# Labels that are not found, and those in another unit


@pytest.mark.parametrize(
    ("images", "labels", "name"),
    [
        ("images", "labels", "a.TXT"),
        ("Images", "Labels", "a.txt"),
        ("IMAGES", "labels", "a.txt"),
        ("images", "labels", "a.png.txt"),
        ("images", "images", "a.txt"),
    ],
)
def test_labels_are_found_in_other_capitals_and_with_the_pictures_ending(tmp_path, images, labels, name):
    picture(tmp_path / images / "train/a.png")
    text(tmp_path / labels / "train" / name, ROW)
    text(tmp_path / "data.yaml", f"train: {images}/train\nnames: [cat]")
    data = load_dataset(tmp_path)
    assert len(data.splits["train"][0].labels) == 1
    assert not faults(data, "labels-without-image")


@pytest.mark.parametrize(
    ("picture_name", "label_name"),
    [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9"), ("my dog", "my%20dog"), ("my%20dog", "my dog")],
)
def test_labels_are_found_in_another_spelling(tmp_path, picture_name, label_name):
    picture(tmp_path / f"images/train/{picture_name}.png")
    text(tmp_path / f"labels/train/{label_name}.txt", ROW)
    text(tmp_path / "data.yaml", "train: images/train\nnames: [cat]")
    assert len(load_dataset(tmp_path).splits["train"][0].labels) == 1


def test_a_label_that_is_another_pictures_own_is_not_borrowed(tmp_path):
    yolo(tmp_path, {"train/A": ROW, "train/a": None})
    assert [len(record.labels) for record in load_dataset(tmp_path).splits["train"]] == [1, 0]


def test_a_split_without_a_box_names_the_labels_that_were_not_found(tmp_path):
    yolo(tmp_path, {"train/a": None, "train/b": None})
    text(tmp_path / "labels/train/img_a.txt", ROW)
    data = load_dataset(tmp_path)
    (message,) = faults(data, "no-objects")
    assert "2 have no label file, such as " in message
    assert "1 label files fit no picture" in message
    with pytest.raises(DataError, match="train has no box in 2 pictures"):
        data.require_objects("train")
    assert check_dataset(tmp_path).count("error") == 2


def test_many_pictures_without_labels_are_a_warning_with_its_cause(tmp_path):
    yolo(tmp_path, {"train/a": ROW, "train/b": None, "train/c": None})
    (message,) = faults(load_dataset(tmp_path), "many-unlabelled")
    assert message.startswith("2 of 3 pictures of train have no label: 2 have no label file")


@pytest.mark.parametrize("row", ["0 32.0 36.0 32 48", "0 10 5 40 5 40 30 10 30", "0 50.0 50.0 20.0 40.0"])
def test_labels_in_pixels_are_refused_and_counted(tmp_path, row):
    yolo(tmp_path, {"train/a": row, "train/b": row})
    with pytest.raises(DataError, match=r"a\.txt: line 1: .*is in pixels.* and 1 more"):
        load_dataset(tmp_path)
    assert check_dataset(tmp_path).count("error") == 3  # each row, and that no box is left


def test_fractions_where_pixels_belong_are_refused(tmp_path):
    voc(tmp_path, ["a"], voc_xml([("cat", (0.1, 0.2, 0.5, 0.6), 0)]))
    with pytest.raises(DataError, match="lie between 0 and 1: fractions, where voc has pixels"):
        load_dataset(tmp_path)


def test_corners_in_the_place_of_sizes_are_named(tmp_path):
    yolo(tmp_path, {"train/a": "0 0.5 0.5 0.9 0.9", "train/b": "0 0.6 0.4 0.95 0.8"})
    (message,) = faults(load_dataset(tmp_path), "many-clipped")
    assert "two corners" in message


def test_rows_of_keypoints_give_their_box(tmp_path):
    yolo(
        tmp_path, {"train/a": "0 0.5 0.5 0.2 0.4 0.3 0.4 2 0.31 0.41 1\n0 0.5 0.5 0.2 0.2"}, "[dog]\nkpt_shape: [2, 3]"
    )
    np.testing.assert_allclose(
        load_dataset(tmp_path).splits["train"][0].boxes_xyxy, [[40, 15, 60, 35], [40, 20, 60, 30]]
    )
    text(tmp_path / "labels/train/a.txt", "0 0.5 0.5 0.2 0.4 0.3 0.4")
    with pytest.raises(DataError, match="7 numbers, expected 5 and 6 of keypoints"):
        load_dataset(tmp_path)


# Two things under one key


@pytest.mark.parametrize("names", [("train_1", "train_2"), ("instances_train2014", "instances_train2017")])
def test_jsons_of_one_split_are_read_together(tmp_path, names):
    for number, name in enumerate(names):
        picture(tmp_path / f"images/{number}.png", seed=number)
        coco_json(tmp_path / f"annotations/{name}.json", [{"id": 1, "file_name": f"{number}.png"}], [annotation(1)])
    records = load_dataset(tmp_path).splits["train"]
    assert [len(record.labels) for record in records] == [1, 1]
    assert len({record.image_id for record in records}) == 2


def test_entries_of_one_picture_are_one_picture_with_all_boxes(tmp_path):
    picture(tmp_path / "images/a.png")
    images = [{"id": 1, "file_name": "a.png"}, {"id": "2", "file_name": "./a.png"}, {"id": 3, "file_name": "a.png"}]
    annotations = [
        annotation(1),
        annotation("1", 2, bbox=[1, 1, 9, 9]),
        annotation(2, 3, bbox=[5, 5, 9, 9]),
        annotation(3),
    ]
    coco_json(tmp_path / "annotations/instances_train.json", images, annotations)
    data = load_dataset(tmp_path)
    assert len(data.splits["train"]) == 1
    assert len(data.splits["train"][0].labels) == 3
    assert faults(data, "listed-twice") == ["is listed 3 times in train"]
    clean = write_clean_copy(check_dataset(tmp_path), tmp_path / "clean")
    assert len(clean.splits["train"][0].labels) == 3


def test_one_id_of_two_pictures_is_refused_with_both_names(tmp_path):
    for seed, name in enumerate("ab"):
        picture(tmp_path / f"images/{name}.png", seed=seed)
    images = [{"id": 1, "file_name": "a.png"}, {"id": "1", "file_name": "b.png"}]
    coco_json(tmp_path / "annotations/instances_train.json", images, [annotation(1)])
    with pytest.raises(DataError, match=r"id 1 is that of a\.png and of b\.png"):
        load_dataset(tmp_path)


def test_ids_of_one_class_name_are_one_class(tmp_path):
    picture(tmp_path / "images/a.png")
    categories = [{"id": 0, "name": "cell"}, {"id": "1", "name": "cell"}, {"id": 2, "name": "dust"}]
    annotations = [annotation(1, category_id=0), annotation(1, 2, category_id=1, bbox=[1, 1, 5, 5]),
                   annotation(1, 3, category_id="2", bbox=[2, 2, 5, 5])]  # fmt: skip
    coco_json(tmp_path / "annotations/instances_train.json", [{"id": 1, "file_name": "a.png"}], annotations, categories)
    data = load_dataset(tmp_path)
    assert (data.class_names, data.splits["train"][0].labels.tolist()) == (["cell", "dust"], [0, 0, 1])
    assert faults(data, "doubled-class") == ["categories 0 and 1 are both 'cell'"]


def test_a_class_name_that_stands_twice_in_data_yaml_is_refused(tmp_path):
    with pytest.raises(DataError, match="names: has 'cat' twice, as 0 and 2: rename one"):
        load_dataset(yolo(tmp_path, {"train/a": ROW}, "[cat, dog, cat]"))


@pytest.mark.parametrize(
    "entry",
    [
        "[images/train, images/train]",
        "[images/train, ./images/train]",
        "[images/train/a.png, images/train]",
        "list.txt",
    ],
)
def test_a_picture_that_is_listed_again_is_taken_once_and_kept_by_fix(tmp_path, entry):
    yolo(tmp_path / "in", {"train/a": ROW, "train/b": ROW})
    text(tmp_path / "in/list.txt", "images/train/a.png\nimages/train/b.png\n./images/train/a.png\n")
    text(tmp_path / "in/data.yaml", f"train: {entry}\nnames: [cat]")
    data = load_dataset(tmp_path / "in")
    assert sorted(record.path.name for record in data.splits["train"]) == ["a.png", "b.png"]
    assert faults(data, "listed-twice")
    assert len(write_clean_copy(check_dataset(tmp_path / "in"), tmp_path / "out").splits["train"]) == 2


def test_of_equal_pictures_fix_keeps_all_labels(tmp_path):
    yolo(tmp_path / "in", {"train/a": None, "train/b": ROW, "val/c": "0 0.2 0.2 0.1 0.1", "val/d": None})
    shutil.copy(tmp_path / "in/images/train/b.png", tmp_path / "in/images/train/a.png")
    shutil.copy(tmp_path / "in/images/train/b.png", tmp_path / "in/images/val/d.png")
    clean = write_clean_copy(check_dataset(tmp_path / "in"), tmp_path / "out")
    assert {split: [len(record.labels) for record in records] for split, records in clean.splits.items()} == {
        "val": [1, 1]
    }


def test_two_endings_of_a_stem_in_voc_are_told_by_filename_and_size_or_refused(tmp_path):
    voc(tmp_path, ["a"])
    picture(tmp_path / "JPEGImages/a.bmp", 64, 48, seed=9)
    assert load_dataset(tmp_path).splits["train"][0].path.name == "a.png"
    text(tmp_path / "Annotations/a.xml", voc_xml([("cat", (1, 1, 9, 9), 0)], "old.jpg", (64, 48)))
    assert load_dataset(tmp_path).splits["train"][0].path.name == "a.bmp"
    text(tmp_path / "Annotations/a.xml", voc_xml([("cat", (1, 1, 9, 9), 0)], "old.jpg", (1, 1)))
    with pytest.raises(DataError, match=r"may be of a\.bmp or of a\.png"):
        load_dataset(tmp_path)


def test_two_pictures_with_one_label_file_are_named(tmp_path):
    yolo(tmp_path, {"train/a": ROW})
    picture(tmp_path / "images/train/a.bmp", seed=5)
    assert faults(load_dataset(tmp_path), "shared-labels") == ["has the same labels as a.bmp: a.txt"]


# Annotations that are missing, or mean something else


def test_voc_pictures_without_xml_are_left_out_and_named(tmp_path):
    voc(tmp_path, ["a", "b"])
    (tmp_path / "Annotations/b.xml").unlink()
    data = load_dataset(tmp_path)
    assert [record.path.name for record in data.splits["train"]] == ["a.png"]
    assert faults(data, "missing-labels")


@pytest.mark.parametrize("name", ["a.XML", "train/a.xml"])
def test_voc_xml_is_found_in_capitals_and_in_subfolders(tmp_path, name):
    voc(tmp_path, ["a"])
    (tmp_path / "Annotations/train").mkdir()
    (tmp_path / "Annotations/a.xml").rename(tmp_path / "Annotations" / name)
    assert len(load_dataset(tmp_path).splits["train"][0].labels) == 1


def test_crowds_alone_are_nothing_to_learn_and_the_text_0_is_no_crowd(tmp_path):
    picture(tmp_path / "images/a.png")
    path = tmp_path / "annotations/instances_train.json"
    coco_json(path, [{"id": 1, "file_name": "a.png"}], [annotation(1, iscrowd="0")])
    assert load_dataset(tmp_path).splits["train"][0].ignore.tolist() == [False]
    coco_json(path, [{"id": 1, "file_name": "a.png"}], [annotation(1, iscrowd=1)])
    with pytest.raises(DataError, match="all 1 objects are crowd or difficult"):
        load_dataset(tmp_path).require_objects("train")
    assert check_dataset(tmp_path).count("error") == 1


def test_the_label_map_of_cvat_is_read(tmp_path):
    voc(tmp_path, ["a"], voc_xml([("cat: big", (1, 1, 9, 9), 0), ("dog", (1, 1, 9, 9), 0)]))
    rows = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat: big:128,0,0::\ndog::a,b:run\n"
    text(tmp_path / "labelmap.txt", rows)
    assert load_dataset(tmp_path).class_names == ["cat: big", "dog"]


def test_a_split_that_is_not_there_is_named_as_such(tmp_path):
    yolo(tmp_path, {"train/a": ROW})
    text(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames: [cat]")
    data = load_dataset(tmp_path)
    assert data.skipped == []
    assert any(line.endswith("data.yaml: val: images/val does not exist") for line in data.summary())
    (tmp_path / "images/val").mkdir()
    assert faults(load_dataset(tmp_path), "missing-split") == ["val has no pictures"]


def test_who_reads_data_to_score_or_calibrate_says_what_is_wrong_with_it(tmp_path, caplog):
    pytest.importorskip("torch", reason="calibration needs the train extra")
    from ghostyolo.benchmark.candidates import Candidate
    from ghostyolo.cli.benchmark import read_labelled
    from ghostyolo.export import parity
    from ghostyolo.export.quantise.calibration import canvases_of_data

    yolo(tmp_path, {"train/a": ROW, "train/b": "0 0.5 0.5 0.2 0\n", "val/c": ROW, "val/d": "0 0.5 0.5 0.2 0\n"})
    text(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames: [cat]")
    readers = {
        "export": lambda: parity.read_labelled(tmp_path, "val"),
        "benchmark": lambda: read_labelled(tmp_path, "val", [Candidate("digits", "file", "digits", "onnxruntime")]),
        "calibration": lambda: canvases_of_data(tmp_path, (32, 32)),
    }
    for name, read in readers.items():
        caplog.clear()
        read()
        (line,) = caplog.messages
        assert ("train" if name == "calibration" else "val") in line.split(":")[0], name
        assert "1 " in line, name


def test_a_split_to_score_on_needs_a_box(tmp_path):
    yolo(tmp_path, {"val/a": ""})
    text(tmp_path / "data.yaml", "val: images/val\nnames: [cat]")
    with pytest.raises(DataError, match="box"):
        load_dataset(tmp_path, ["val"]).checked("val")


# Sizes that are not the file's


def exif(path, orientation, width=160, height=120):
    tags = Image.Exif()
    tags[0x0112] = orientation
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8), (width, height))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95, exif=tags)


@pytest.mark.parametrize(
    ("orientation", "box"),
    [(5, [12, 16, 60, 48]), (6, [60, 16, 108, 48]), (7, [60, 112, 108, 144]), (8, [12, 112, 60, 144])],
)
def test_boxes_in_stored_pixels_are_turned_with_the_picture(tmp_path, orientation, box):
    """The box (16, 12, 48, 60) of 160 x 120 stored pixels, turned by hand."""
    exif(tmp_path / "images/a.jpg", orientation)
    images = [{"id": 1, "file_name": "a.jpg", "width": 160, "height": 120}]
    both = [annotation(1, bbox=[16, 12, 32, 48]), annotation(1, 2, bbox=[0, 0, 160, 120])]
    coco_json(tmp_path / "annotations/instances_train.json", images, both)
    data = load_dataset(tmp_path)
    np.testing.assert_allclose(data.splits["train"][0].boxes_xyxy, [box, [0, 0, 120, 160]])
    assert "boxes turned" in faults(data, "size-mismatch")[0]


@pytest.mark.parametrize(
    ("written", "box", "expected", "kind"),
    [
        ((200, 100), (20, 10, 160, 70), [10, 5, 80, 35], "size-mismatch"),  # twice the size: scaled
        ((50, 25), (20, 10, 80, 40), [20, 10, 80, 40], "size-mismatch"),  # the box only fits the file
        ((640, 480), (20, 10, 80, 40), [20, 10, 80, 40], "size-mismatch"),  # another shape, and it fits the file
        ((640, 480), (20, 10, 400, 400), None, "wrong-size"),
        ((50, 100), (5, 5, 9, 9), None, "wrong-size"),  # turned without EXIF: nobody can tell which way
    ],
)
def test_another_size_is_scaled_or_left_out_and_always_counted(tmp_path, written, box, expected, kind):
    voc(tmp_path, ["a", "b"])
    text(tmp_path / "Annotations/a.xml", voc_xml([("cat", box, 0)], "a.png", written))
    data = load_dataset(tmp_path)
    assert len(faults(data, kind)) == 1
    found = {record.path.name: record.boxes_xyxy.tolist() for record in data.splits["train"]}
    assert found.get("a.png") == (None if expected is None else [expected])


# Listings and hidden files


def test_files_that_a_mac_or_a_tool_hides_are_passed_over_in_every_layout(tmp_path):
    yolo(tmp_path / "yolo", {"train/a": ROW}, "[cat]")
    for name in (
        "images/train/._a.png",
        "labels/train/._a.txt",
        "images/train/.ipynb_checkpoints/a.png",
        "._data.yaml",
    ):
        text(tmp_path / "yolo" / name, "\x00\x05\x16\x07")
    data = load_dataset(tmp_path / "yolo")
    assert len(data.splits["train"]) == 1
    assert [(fault.kind, fault.count) for fault in data.faults] == [("hidden-files", 2)]
    voc(tmp_path / "voc", ["a"])
    for name in ("JPEGImages/._a.png", "Annotations/._a.xml", "ImageSets/Main/._train.txt"):
        text(tmp_path / "voc" / name, "\x00\x05\x16\x07")
    assert len(load_dataset(tmp_path / "voc").splits["train"]) == 1
    picture(tmp_path / "coco/images/a.png")
    coco_json(tmp_path / "coco/annotations/instances_train.json", [{"id": 1, "file_name": "a.png"}], [annotation(1)])
    text(tmp_path / "coco/annotations/._instances_train.json", "\x00\x05\x16\x07")
    assert len(load_dataset(tmp_path / "coco").splits["train"]) == 1


def test_pictures_that_no_list_names_are_counted(tmp_path):
    picture(tmp_path / "coco/images/a.png")
    picture(tmp_path / "coco/images/b.png")
    coco_json(tmp_path / "coco/annotations/instances_train.json", [{"id": 1, "file_name": "a.png"}], [annotation(1)])
    assert faults(load_dataset(tmp_path / "coco"), "not-read") == ["1 pictures are in no JSON, such as b.png"]
    voc(tmp_path / "voc", ["a", "b"])
    text(tmp_path / "voc/ImageSets/Main/train.txt", "a")
    assert "1 pictures are in no list" in faults(load_dataset(tmp_path / "voc"), "not-read")[0]


def test_further_pages_of_a_file_are_counted(tmp_path):
    yolo(tmp_path, {"train/a": ROW})
    pages = [Image.new("RGB", (30, 20), color) for color in ("red", "green", "blue")]
    pages[0].save(tmp_path / "images/train/b.tif", save_all=True, append_images=pages[1:])
    assert faults(load_dataset(tmp_path), "further-frames") == ["has 3 pictures in one file"]


# YAML's types, encodings, names


@pytest.mark.parametrize("names", [["no", "on", "010", "1e3"], ["2024-01-01", "1.50", "0x10", "12:30"]])
def test_class_names_stay_the_text_that_is_written(tmp_path, names):
    assert load_dataset(yolo(tmp_path, {"train/a": ROW}, f"[{', '.join(names)}]")).class_names == names


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-16-le"])
def test_lists_and_labels_in_marked_encodings_are_read(tmp_path, encoding):
    yolo(tmp_path, {"train/a": None, "train/b": None})
    (tmp_path / "train.txt").write_bytes("images/train/a.png\r\nimages/train/b.png".encode(encoding))
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_bytes(ROW.encode(encoding))
    (tmp_path / "data.yaml").write_bytes("train: train.txt\nnames: [猫]".encode(encoding))
    data = load_dataset(tmp_path)
    assert data.class_names == ["猫"]
    assert [len(record.labels) for record in data.splits["train"]] == [1, 0]


def test_another_encoding_is_one_line_with_file_and_encoding(tmp_path):
    text(voc(tmp_path, ["a"]) / "x", "")
    (tmp_path / "classes.txt").write_bytes("小猫\n小狗".encode("gbk"))
    with pytest.raises(DataError, match=r"classes\.txt is not UTF-8 text \(it looks like GBK\): save it as UTF-8"):
        load_dataset(tmp_path)


def test_a_name_that_is_not_utf_8_is_read_checked_and_copied(tmp_path):
    yolo(tmp_path / "in", {"train/a": ROW})
    name = b"\xba\xba".decode("utf-8", "surrogateescape")
    for folder, suffix in (("images", "png"), ("labels", "txt")):
        (tmp_path / f"in/{folder}/train/a.{suffix}").rename(tmp_path / f"in/{folder}/train/{name}.{suffix}")
    report = check_dataset(tmp_path / "in")
    json.dumps(report.to_json()).encode()
    write_clean_copy(report, tmp_path / "out")
    assert len(load_dataset(tmp_path / "out").splits["train"][0].labels) == 1


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"images": [], "images": [], "annotations": [], "categories": []}', "\ud800", "{}"]
)
def test_json_that_is_none_is_one_line(tmp_path, content):
    path = tmp_path / "annotations/instances_train.json"
    path.parent.mkdir()
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"instances_train\.json") as caught:
        load_dataset(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "entry", [5, None, {}, {"file_name": 3}, {"file_name": "x" * 300, "id": []}, {"file_name": "a\0"}]
)
def test_odd_entries_of_coco_are_faults_and_no_traceback(tmp_path, entry):
    picture(tmp_path / "images/a.png")
    images = [{"id": 1, "file_name": "a.png"}, entry]
    annotations = [annotation(1), annotation([], 2), 7, annotation(1, 3, category_id={}, bbox="x")]
    coco_json(tmp_path / "annotations/instances_train.json", images, annotations)
    report = check_dataset(tmp_path)
    assert len(report.data.splits["train"][0].labels) == 1
    assert report.count("error") >= 3


# Pictures of more than 8 bits


def test_one_hot_pixel_changes_nothing_and_a_data_set_has_one_range(tmp_path):
    from ghostyolo.data.images import read_image

    yolo(tmp_path, {"train/a": ROW, "train/b": ROW, "train/c": ROW})
    dark = np.random.default_rng(0).integers(0, 900, (50, 100), np.uint16)
    hot = dark.copy()
    hot[3, 4] = 60000
    for name, pixels in (("a", dark), ("b", hot), ("c", dark * 4)):
        cv2.imwrite(str(tmp_path / f"images/train/{name}.png"), pixels)
    alone = [read_image(tmp_path / f"images/train/{name}.png") for name in "ab"]
    assert np.abs(alone[0].astype(int) - alone[1]).max(axis=2).sum() <= 255
    data = load_dataset(tmp_path)
    assert data.pixel_range == (0, 4095)
    means = [read_image(record.path, 3, record.pixel_range).mean() for record in data.splits["train"]]
    assert means[1] == pytest.approx(means[0], rel=0.01)
    assert means[2] == pytest.approx(4 * means[0], rel=0.02)


def test_floating_point_pictures_of_a_data_set_have_one_range(tmp_path):
    from ghostyolo.data.images import read_image

    yolo(tmp_path, {"train/a": ROW, "train/b": ROW})
    for name, factor in (("a", 10), ("b", 40)):
        pixels = np.random.default_rng(0).uniform(0, factor, (50, 100)).astype(np.float32)
        Image.fromarray(pixels).save(tmp_path / f"images/train/{name}.tif")
        (tmp_path / f"images/train/{name}.png").unlink()
    means = [read_image(item.path, 1, item.pixel_range).mean() for item in load_dataset(tmp_path).splits["train"]]
    assert means[1] == pytest.approx(4 * means[0], rel=0.05)

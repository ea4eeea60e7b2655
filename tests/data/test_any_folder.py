"""A stranger's folder of each layout is read as it comes: every picture, box, class and split."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from ghostyolo.data.check import check_dataset
from ghostyolo.data.formats import load_dataset
from ghostyolo.data.formats.layout import layouts
from ghostyolo.errors import DataError
from tests.data import layout_folders
from tests.data.builders import picture, text, voc_xml, yolo
from tests.data.layout_folders import ALL, NAMES, TRUTH, WRITERS

each_layout = pytest.mark.parametrize("name", WRITERS)


def stem_of(record) -> str:
    return record.path.stem.split("_jpg.rf.")[0].split("-")[-1]


def boxes_of(data, record) -> list:
    boxes = np.round(record.boxes_xyxy).astype(int).tolist()
    return sorted((data.class_names[label], tuple(box)) for label, box in zip(record.labels, boxes, strict=True))


def write(name: str, root):
    WRITERS[name][2](root)
    return root


@each_layout
def test_a_strangers_folder_is_read_as_it_comes(tmp_path, name):
    kind, has_splits, _ = WRITERS[name]
    data = load_dataset(write(name, tmp_path))
    assert (data.layout, data.class_names) == (kind, NAMES)
    truth = TRUTH if has_splits else {"all": ALL}
    read = {split: {stem_of(item): boxes_of(data, item) for item in items} for split, items in data.splits.items()}
    assert read == {split: {stem: sorted(rows) for stem, rows in pictures.items()} for split, pictures in truth.items()}
    for records in data.splits.values():
        assert sorted(record.image_id for record in records) == sorted({record.image_id for record in records})
        for record in records:
            np.testing.assert_allclose(record.boxes_xyxy, np.round(record.boxes_xyxy), atol=0.01)
    assert check_dataset(tmp_path).count("error") == 0


@each_layout
def test_one_split_is_read_alone_and_an_unknown_one_named(tmp_path, name):
    split = "val" if WRITERS[name][1] else "all"
    write(name, tmp_path)
    assert list(load_dataset(tmp_path, [split]).splits) == [split]
    with pytest.raises(DataError, match=f"has no split 'holdout': .*{split}"):
        load_dataset(tmp_path, ["holdout"])


def test_every_layout_has_a_strangers_folder():
    assert {layout.name for layout in layouts()} - {"lists", "parquet"} == {kind for kind, _, _ in WRITERS.values()}


# Two at once, none, and half of one


def both(root, second_box=(10, 5, 30, 35)):
    picture(root / "a.png")
    text(root / "a.txt", "0 0.2 0.4 0.2 0.6")
    text(root / "classes.txt", "cat")
    text(root / "a.xml", voc_xml([("cat", second_box, 0)]))
    return root


def test_two_layouts_that_differ_are_refused_and_a_prefix_settles_it(tmp_path):
    both(tmp_path)
    text(tmp_path / "a.xml", voc_xml([("cat", (10, 5, 30, 35), 0), ("cat", (50, 5, 60, 35), 0)]))
    with pytest.raises(DataError, match=r"has two layouts that differ, Pascal VOC .* and YOLO .*1 boxes") as caught:
        load_dataset(tmp_path)
    assert f"give voc:{tmp_path} or yolo:{tmp_path} to choose" in str(caught.value)
    assert len(load_dataset(f"voc:{tmp_path}").splits["all"][0].labels) == 2
    data = load_dataset(f"yolo:{tmp_path}")
    assert len(data.splits["all"][0].labels) == 1
    assert load_dataset(data.place).layout == "yolo"


def test_two_layouts_that_say_the_same_are_one_data_set_and_said(tmp_path):
    data = load_dataset(both(tmp_path))
    assert data.layout == "yolo"
    assert any("read as YOLO (a.txt); Pascal VOC beside it says the same" in line for line in data.summary())


def test_nothing_to_read_says_what_was_looked_for_and_what_is_there(tmp_path):
    for seed in range(3):
        picture(tmp_path / f"pictures/{seed}.png", seed=seed)
    text(tmp_path / "notes.md", "hello")
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    message = str(caught.value)
    assert "it holds 3 .png, 1 .md; looked for " in message
    assert all(layout.title in message for layout in layouts())
    assert "\n" not in message


def test_two_data_sets_in_one_folder_are_refused_with_both_names(tmp_path):
    for name in ("one", "two"):
        yolo(tmp_path / name, {"train/a": "0 0.5 0.5 0.2 0.2"})
    with pytest.raises(DataError, match=r"one/data\.yaml and .*two/data\.yaml both describe data: give the path"):
        load_dataset(tmp_path)


def test_a_split_with_a_class_missing_is_said(tmp_path):
    rows = {"train/a": "0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1", "val/b": "0 0.5 0.5 0.2 0.2"}
    data = load_dataset(yolo(tmp_path, rows))
    assert any("val has no object of 1 of 2 classes: dog" in line for line in data.summary())


def test_classes_without_names_are_called_by_their_numbers_and_said(tmp_path):
    picture(tmp_path / "a.png")
    text(tmp_path / "a.txt", "2 0.5 0.5 0.2 0.2")
    data = load_dataset(tmp_path)
    assert data.class_names == ["0", "1", "2"]
    assert "names-unknown" in [fault.kind for fault in data.faults]


def test_lists_of_other_class_names_are_refused(tmp_path):
    write("roboflow_darknet", tmp_path)
    text(tmp_path / "val/_darknet.labels", "dog\ncat")
    with pytest.raises(DataError, match="name other classes"):
        load_dataset(tmp_path)


def test_polygons_are_said_to_have_become_boxes(tmp_path):
    data = load_dataset(write("labelme_polygons_in_their_own_folder", tmp_path / "labelme"))
    assert any("8 shape-boxed, the enclosing box taken" in line for line in data.summary())
    yolo(tmp_path / "yolo", {"train/a": "0 0.1 0.2 0.5 0.1 0.3 0.9\n0 0.5 0.5 0.1 0.1"})
    data = load_dataset(tmp_path / "yolo")
    assert [(fault.split, fault.count) for fault in data.faults if fault.kind == "shape-boxed"] == [("train", 1)]


def test_text_files_that_are_no_labels_are_no_layout(tmp_path):
    picture(tmp_path / "a.png")
    text(tmp_path / "a.txt", "a picture of a cat that sits on a mat")
    with pytest.raises(DataError, match="none of the layouts known"):
        load_dataset(tmp_path)


def test_pictures_of_one_name_are_told_by_split_folder_and_nearness(tmp_path):
    for seed, folder in enumerate(("train", "val")):
        picture(tmp_path / folder / "images/0001.png", seed=seed)
        text(tmp_path / folder / "annotations/0001.xml", voc_xml([("cat", (1, 1, 20 + seed, 20), 0)], "0001.png"))
    data = load_dataset(tmp_path)
    assert {split: records[0].path.parts[-3] for split, records in data.splits.items()} == {
        "train": "train",
        "val": "val",
    }
    assert [records[0].boxes_xyxy[0, 2] for records in data.splits.values()] == [20, 21]


def test_pictures_that_cannot_be_told_apart_are_refused_with_both(tmp_path):
    for folder in ("one", "two"):
        picture(tmp_path / folder / "a.png")
    text(tmp_path / "all.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,cat,1,1,9,9\n")
    with pytest.raises(DataError, match=r"'a\.png' may be .*one/a\.png or .*two/a\.png: write their folders"):
        load_dataset(tmp_path)


# One layout's own


def test_bad_rows_of_a_csv_are_named_by_their_row(tmp_path):
    picture(tmp_path / "a.png")
    rows = ["a.png,cat,1,1,9,9", "a.png,,1,1,9,9", "a.png,cat,x,1,9,9", "a.png,cat,nan,1,9,9", "gone.png,cat,1,1,9,9"]
    text(tmp_path / "x.csv", "\n".join(["filename,class,xmin,ymin,xmax,ymax", *rows]))
    faults = [(fault.kind, fault.message) for fault in check_dataset(tmp_path).problems if fault.level == "error"]
    assert [kind for kind, _ in faults].count("bad-label") == 3
    assert [message.split(":")[0] for _, message in faults[:3]] == ["row 3", "row 4", "row 5"]
    assert ("missing-image", "no such picture") in faults


def test_a_csv_of_semicolons_and_other_column_names_is_read(tmp_path):
    picture(tmp_path / "a.png")
    text(tmp_path / "x.csv", "Image_Path;Label;X_Min;Y_Min;X_Max;Y_Max\rold\\a.png;cat;1;2;9;8\r")
    assert load_dataset(tmp_path).splits["all"][0].boxes_xyxy.tolist() == [[1, 2, 9, 8]]


def test_groups_of_open_images_are_crowd_and_rows_of_other_pictures_counted(tmp_path):
    write("open_images", tmp_path)
    path = tmp_path / "train-annotations-bbox.csv"
    text(path, path.read_text() + "b,xclick,/m/01yrx,1,0.1,0.9,0.1,0.9,0,0,1,0,0\n")
    data = load_dataset(tmp_path)
    crowds = {record.path.stem: record.crowd.tolist() for record in data.splits["train"]}
    assert crowds["b"] == [False, True]
    assert "1 rows of pictures that are not here" in [fault.message for fault in data.faults]


def test_a_turned_box_of_label_studio_is_enclosed_in_pixels(tmp_path):
    """A square of 20 x 20 pixels, turned by 90 degrees about its corner (50, 10): x 30 to 50, y 10 to 30."""
    picture(tmp_path / "a.png")
    value = {"x": 50, "y": 20, "width": 20, "height": 40, "rotation": 90, "rectanglelabels": ["cat"]}
    result = [{"type": "rectanglelabels", "value": value, **layout_folders.SIZE},
              {"type": "brushlabels", "value": {"rle": [], "brushlabels": ["cat"]}}]  # fmt: skip
    tasks = [{"id": 1, "data": {"image": "s3://bucket/a.png"}, "annotations": [{"result": result}]}]
    text(tmp_path / "x.json", json.dumps(tasks))
    data = load_dataset(tmp_path)
    np.testing.assert_allclose(data.splits["all"][0].boxes_xyxy, [[30, 10, 50, 30]], atol=1e-4)
    assert {(fault.kind, fault.message) for fault in data.faults} >= {
        ("shape-boxed", "1 of shape turned rectangle"),
        ("not-read", "1 of shape brush, which have no box"),
    }


def test_frames_and_shapes_of_cvat_are_read_where_they_are_not_outside(tmp_path):
    for frame in range(3):
        picture(tmp_path / f"images/frame_{frame:06d}.png", seed=frame)
    box = '<box frame="{}" outside="{}" xtl="10" ytl="5" xbr="30" ybr="35"></box>'
    rows = "".join(box.format(frame, int(frame == 2)) for frame in range(3))
    tracks = f'<track id="0" label="cat">{rows}</track>'
    tracks += '<track id="1" label="dog"><polygon frame="1" points="1,2;9,2;5,8"></polygon></track>'
    text(tmp_path / "annotations.xml", f"<annotations>{tracks}</annotations>")
    data = load_dataset(tmp_path)
    assert [boxes_of(data, record) for record in data.splits["all"]] == [
        [("cat", (10, 5, 30, 35))], [("cat", (10, 5, 30, 35)), ("dog", (1, 2, 9, 8))], [],
    ]  # fmt: skip


def test_shapes_of_labelme_without_area_are_counted(tmp_path):
    picture(tmp_path / "a.png")
    shapes = [{"label": "cat", "points": [[50, 25], [60, 25]], "shape_type": "circle"},
              {"label": "cat", "points": [[50, 25]], "shape_type": "point"}]  # fmt: skip
    text(tmp_path / "a.json", json.dumps({"shapes": shapes, "imagePath": "a.png"}))
    data = load_dataset(tmp_path)
    assert data.splits["all"][0].boxes_xyxy.tolist() == [[40, 15, 60, 35]]
    assert "1 of shape point, which have no box" in [fault.message for fault in data.faults]


def test_files_of_one_id_for_two_names_are_told_by_names(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        picture(tmp_path / f"images/{number}.png", seed=number)
        content = {"images": [{"id": 1, "file_name": f"{number}.png"}], "categories": [{"id": 1, "name": name}],
                   "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}]}  # fmt: skip
        text(tmp_path / f"annotations/{number}.json", json.dumps(content))
    data = load_dataset(tmp_path)
    assert data.class_names == ["cat", "dog"]
    assert [record.labels.tolist() for record in data.splits["all"]] == [[0], [1]]


@pytest.mark.parametrize("given", ["labels", "data.yaml", "classes.txt"])
def test_a_path_that_is_more_exact_is_read_or_refused(tmp_path, given):
    write("label_studio_yolo", tmp_path)
    text(tmp_path / "data.yaml", f"train: images\nnames: {NAMES}")
    if given == "classes.txt":
        with pytest.raises(DataError, match="is not a data set"):
            load_dataset(tmp_path / given)
        return
    (records,) = load_dataset(tmp_path / given).splits.values()
    assert sum(len(record.labels) for record in records) == 8


def test_linked_folders_are_followed_once(tmp_path):
    write("voc_in_small_letters", tmp_path / "set")
    shutil.move(tmp_path / "set/images", tmp_path / "store")
    (tmp_path / "set/pictures").symlink_to(tmp_path / "store")
    (tmp_path / "store/circle").symlink_to(tmp_path / "store")
    assert len(load_dataset(tmp_path / "set").splits["all"]) == 5

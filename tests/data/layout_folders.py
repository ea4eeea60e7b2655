"""One small data set as the programs of others write it: a function a layout.

Each takes an empty folder, draws the pictures of :data:`TRUTH` where its program has them, and writes the labels.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from tests.data.builders import picture, text, voc_xml

WIDTH, HEIGHT = 100, 50
NAMES = ["cat", "dog"]
Row = tuple[str, tuple[int, int, int, int]]
# Pictures by split; a picture's rows are class and corners in pixels.
TRUTH: dict[str, dict[str, list[Row]]] = {
    "train": {
        "a 1": [("cat", (10, 5, 30, 35)), ("dog", (40, 10, 90, 40))],
        "b": [("dog", (0, 0, 50, 50))],
        "c": [("cat", (20, 20, 40, 30)), ("cat", (60, 20, 80, 30))],
    },
    "val": {"d": [("cat", (5, 5, 15, 15)), ("dog", (50, 5, 60, 45))], "e": [("dog", (70, 10, 100, 50))]},
}
ALL = {stem: rows for pictures in TRUTH.values() for stem, rows in pictures.items()}
WRITERS: dict[str, tuple[str, bool, Callable[[Path], object]]] = {}


def layout(name: str, *, splits: bool = True):
    """Register a writer: the name that the layout is read as, and whether it keeps the splits."""

    def register(write: Callable[[Path], object]) -> Callable[[Path], object]:
        WRITERS[write.__name__] = (name, splits, write)
        return write

    return register


def draw(path: Path) -> Path:
    return picture(path, WIDTH, HEIGHT, seed=sorted(ALL).index(path.stem.split("_jpg.rf.")[0].split("-")[-1]))


def rows_yolo(rows: list[Row]) -> str:
    lines = []
    for name, (x1, y1, x2, y2) in rows:
        values = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
        lines.append(" ".join([str(NAMES.index(name)), *(f"{value:.6f}" for value in values)]))
    return "\n".join(lines) + "\n"


def xml(stem: str, rows: list[Row], ending: str = "jpg") -> str:
    return voc_xml([(name, box, 0) for name, box in rows], f"{stem}.{ending}", (WIDTH, HEIGHT))


def coco_json(pictures: dict[str, list[Row]], prefix: str = "", first_id: int = 1) -> str:
    images, annotations = [], []
    for number, (stem, rows) in enumerate(pictures.items(), start=first_id):
        images.append({"id": number, "file_name": f"{prefix}{stem}.jpg", "width": WIDTH, "height": HEIGHT})
        for name, (x1, y1, x2, y2) in rows:
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": NAMES.index(name) + 1, **box}
            )
    categories = [{"id": 0, "name": "pets", "supercategory": "none"}]
    categories += [{"id": index + 1, "name": name, "supercategory": "pets"} for index, name in enumerate(NAMES)]
    return json.dumps({"info": {}, "images": images, "annotations": annotations, "categories": categories})


def table(header: list[str], rows: list[list]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    return out.getvalue()


# Pascal VOC


@layout("voc", splits=False)
def voc_in_small_letters(root: Path) -> None:
    for stem, rows in ALL.items():
        draw(root / f"images/{stem}.jpg")
        text(root / f"annotations/{stem}.xml", xml(stem, rows))


@layout("voc", splits=False)
def voc_in_other_folders(root: Path) -> None:
    for stem, rows in ALL.items():
        draw(root / f"Images/{stem}.JPG")
        text(root / f"xml/{stem}.xml", xml(stem, rows))


@layout("voc", splits=False)
def labelimg_beside_pictures(root: Path) -> None:
    for stem, rows in ALL.items():
        draw(root / f"{stem}.jpg")
        text(root / f"{stem}.xml", xml(stem, rows))


@layout("voc")
def roboflow_voc(root: Path) -> None:
    for split, pictures in TRUTH.items():
        folder = root / {"val": "valid"}.get(split, split)
        for stem, rows in pictures.items():
            name = f"{stem}_jpg.rf.0123abcd"
            draw(folder / f"{name}.jpg")
            text(folder / f"{name}.xml", xml(name, rows))


@layout("voc")
def voc_devkit(root: Path) -> None:
    inner = root / "VOCdevkit" / "VOC2007"
    for split, pictures in TRUTH.items():
        for stem, rows in pictures.items():
            draw(inner / f"JPEGImages/{stem}.jpg")
            text(inner / f"Annotations/{stem}.xml", xml(stem, rows))
        text(inner / f"ImageSets/Main/{split}.txt", "\n".join(pictures))


@layout("voc")
def voc_a_folder_a_split(root: Path) -> None:
    for split, pictures in TRUTH.items():
        for stem, rows in pictures.items():
            draw(root / f"{split}/images/{stem}.jpg")
            text(root / f"{split}/annotations/{stem}.xml", xml(stem, rows))


# YOLO


def yolo_files(root: Path, images: str, labels: str) -> None:
    for split, pictures in TRUTH.items():
        for stem, rows in pictures.items():
            draw(root / images.format(split=split) / f"{stem}.jpg")
            text(root / labels.format(split=split) / f"{stem}.txt", rows_yolo(rows))


@layout("yolo", splits=False)
def label_studio_yolo(root: Path) -> None:
    yolo_files(root, "images", "labels")
    text(root / "classes.txt", "\n".join(NAMES))
    text(root / "notes.json", json.dumps({"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2026}}))


@layout("yolo", splits=False)
def labelimg_yolo_beside_pictures(root: Path) -> None:
    yolo_files(root, ".", ".")
    text(root / "classes.txt", "\n".join(NAMES) + "\n")


@layout("yolo")
def yolo_split_folders_without_yaml(root: Path) -> None:
    yolo_files(root, "{split}/Images", "{split}/Labels")
    text(root / "classes.txt", "\n".join(NAMES))


@layout("yolo")
def yolo_folders_of_splits_without_yaml(root: Path) -> None:
    yolo_files(root, "images/{split}", "labels/{split}")
    text(root / "labels/classes.txt", "\n".join(NAMES))


@layout("yolo")
def yolo_in_other_folders(root: Path) -> None:
    yolo_files(root, "img/{split}", "txt/{split}")
    text(root / "classes.txt", "\n".join(NAMES))


@layout("yolo", splits=False)
def yolo_yaml_with_names_alone(root: Path) -> None:
    yolo_files(root, "images", "labels")
    text(root / "data.yaml", f"nc: 2\nnames: {NAMES}")


@layout("yolo")
def roboflow_yolo_with_a_stale_path(root: Path) -> None:
    yolo_files(root, "{split}/images", "{split}/labels")
    text(root / "data.yaml", f"train: /content/pets-1/train/images\nval: ../val/images\nnc: 2\nnames: {NAMES}")
    text(root / "README.dataset.txt", "Pets > 2026\nhttps://example.com\n")


@layout("yolo")
def yolo_one_folder_down(root: Path) -> None:
    yolo_files(root / "pets", "images/{split}", "labels/{split}")
    text(root / "pets/data.yaml", f"train: images/train\nval: images/val\nnames: {NAMES}")


@layout("yolo")
def cvat_yolo(root: Path) -> None:
    for split, pictures in TRUTH.items():
        yolo_files_of = root / f"obj_{split}_data"
        for stem, rows in pictures.items():
            draw(yolo_files_of / f"{stem}.jpg")
            text(yolo_files_of / f"{stem}.txt", rows_yolo(rows))
        text(root / f"{split}.txt", "".join(f"data/obj_{split}_data/{stem}.jpg\n" for stem in pictures))
    text(root / "obj.names", "\n".join(NAMES))
    text(
        root / "obj.data",
        "classes = 2\ntrain = data/train.txt\nvalid = data/val.txt\nnames = data/obj.names\nbackup = b/",
    )


@layout("yolo")
def darknet_lists_alone(root: Path) -> None:
    yolo_files(root, "obj", "obj")
    for split, pictures in TRUTH.items():
        text(root / f"{split}.txt", "".join(f"obj/{stem}.jpg\n" for stem in pictures))
    text(root / "obj.names", "\n".join(NAMES))


@layout("yolo")
def roboflow_darknet(root: Path) -> None:
    yolo_files(root, "{split}", "{split}")
    for split in TRUTH:
        text(root / split / "_darknet.labels", "\n".join(NAMES))


# COCO


@layout("coco")
def roboflow_coco(root: Path) -> None:
    for split, pictures in TRUTH.items():
        folder = root / {"val": "valid"}.get(split, split)
        for stem in pictures:
            draw(folder / f"{stem}.jpg")
        text(folder / "_annotations.coco.json", coco_json(pictures))


@layout("coco")
def coco_in_other_folders(root: Path) -> None:
    for split, pictures in TRUTH.items():
        for stem in pictures:
            draw(root / f"pictures/{stem}.jpg")
        text(root / f"labels_json/{split}_labels.json", coco_json(pictures))


@layout("coco", splits=False)
def coco_of_many_jsons(root: Path) -> None:
    for number, (stem, rows) in enumerate(ALL.items()):
        draw(root / f"images/{stem}.jpg")
        text(root / f"annotations/batch_{number}.json", coco_json({stem: rows}))


@layout("coco", splits=False)
def label_studio_coco(root: Path) -> None:
    for stem in ALL:
        draw(root / f"images/{stem}.jpg")
    text(root / "result.json", coco_json(ALL, prefix="images\\"))


@layout("coco")
def cvat_coco(root: Path) -> None:
    for split, pictures in TRUTH.items():
        for stem in pictures:
            draw(root / f"images/{split}/{stem}.jpg")
        text(root / f"annotations/instances_{split}.json", coco_json(pictures))


# CSV


def csv_rows(pictures: dict[str, list[Row]]) -> list[list]:
    return [[f"{stem}.jpg", WIDTH, HEIGHT, name, *box] for stem, rows in pictures.items() for name, box in rows]


CSV_HEADER = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]


@layout("csv")
def roboflow_csv(root: Path) -> None:
    for split, pictures in TRUTH.items():
        folder = root / {"val": "valid"}.get(split, split)
        for stem in pictures:
            draw(folder / f"{stem}.jpg")
        text(folder / "_annotations.csv", table(CSV_HEADER, csv_rows(pictures)))


@layout("csv")
def tensorflow_csv(root: Path) -> None:
    for split, pictures in TRUTH.items():
        for stem in pictures:
            draw(root / f"images/{stem}.jpg")
        text(root / f"data/{split}_labels.csv", table(CSV_HEADER, csv_rows(pictures)))


@layout("open-images")
def open_images(root: Path) -> None:
    codes = {"cat": "/m/01yrx", "dog": "/m/0bt9lr"}
    header = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    for split, pictures in TRUTH.items():
        folder = {"val": "validation"}.get(split, split)
        rows = [["another", "x", "/m/01yrx", 1, 0, 1, 0, 1, 0, 0, 0, 0, 0]]
        for stem, objects in pictures.items():
            draw(root / folder / f"{stem}.jpg")
            for name, (x1, y1, x2, y2) in objects:
                box = [x1 / WIDTH, x2 / WIDTH, y1 / HEIGHT, y2 / HEIGHT]
                rows.append([stem, "xclick", codes[name], 1, *box, 0, 0, 0, 0, 0])
        text(root / f"{folder}-annotations-bbox.csv", table(header.split(","), rows))
    text(root / "class-descriptions-boxable.csv", "/m/01yrx,cat\n/m/0bt9lr,dog\n/m/011k07,Tortoise\n")


# Label Studio, CVAT, labelme


def region(name: str, box: tuple[int, int, int, int]) -> dict:
    x1, y1, x2, y2 = box
    place = {"x": x1, "y": y1 * 100 / HEIGHT, "width": x2 - x1, "height": (y2 - y1) * 100 / HEIGHT, "rotation": 0}
    return {**place, "rectanglelabels": [name]}


SIZE = {"original_width": WIDTH, "original_height": HEIGHT}


@layout("label-studio", splits=False)
def label_studio_json(root: Path) -> None:
    tasks = []
    for number, (stem, rows) in enumerate(ALL.items(), start=1):
        draw(root / f"upload/1/{number:08x}-{stem}.jpg" if number % 2 else root / f"{stem}.jpg")
        result = [{"type": "rectanglelabels", "value": region(*row), **SIZE} for row in rows]
        result.append({"type": "choices", "value": {"choices": ["good"]}})
        address = f"/data/upload/1/{number:08x}-{stem.replace(' ', '%20')}.jpg"
        annotations = [{"result": [], "was_cancelled": True}, {"result": result, "was_cancelled": False}]
        tasks.append({"id": number, "data": {"image": address}, "annotations": annotations, "predictions": []})
    text(root / "project-1-at-2026-11-29.json", json.dumps(tasks))


@layout("label-studio", splits=False)
def label_studio_json_min(root: Path) -> None:
    tasks = []
    for number, (stem, rows) in enumerate(ALL.items(), start=1):
        draw(root / f"pictures/{stem}.jpg")
        address = f"/data/local-files/?d=pictures/{stem}.jpg"
        tasks.append({"image": address, "id": number, "label": [{**region(*row), **SIZE} for row in rows]})
    text(root / "result.json", json.dumps(tasks))


@layout("cvat")
def cvat_for_images(root: Path) -> None:
    images = []
    for split, pictures in TRUTH.items():
        for stem, rows in pictures.items():
            draw(root / f"images/{split}/{stem}.jpg")
            boxes = "".join(
                f'<box label="{name}" occluded="0" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" z_order="0"></box>'
                for name, (x1, y1, x2, y2) in rows
            )
            images.append(f'<image id="{len(images)}" name="{stem}.jpg" subset="{split.title()}" width="{WIDTH}" '
                          f'height="{HEIGHT}">{boxes}</image>')  # fmt: skip
    labels = "".join(f"<label><name>{name}</name><color>#fff</color></label>" for name in NAMES)
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    text(root / "annotations.xml", f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}'
         f"{''.join(images)}</annotations>")  # fmt: skip


@layout("labelme", splits=False)
def labelme_beside_pictures(root: Path) -> None:
    for stem, rows in ALL.items():
        draw(root / f"{stem}.jpg")
        shapes = [{"label": name, "points": [[x2, y1], [x1, y2]], "shape_type": "rectangle", "flags": {}}
                  for name, (x1, y1, x2, y2) in rows]  # fmt: skip
        content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"..\\raw\\{stem}.jpg"}
        content |= {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
        text(root / f"{stem}.json", json.dumps(content))


@layout("labelme", splits=False)
def labelme_polygons_in_their_own_folder(root: Path) -> None:
    for stem, rows in ALL.items():
        draw(root / f"images/{stem}.jpg")
        shapes = [{"label": name, "points": [[x1, y1], [x2, y1], [x2, y2], [x1, y2]], "shape_type": "polygon"}
                  for name, (x1, y1, x2, y2) in rows]  # fmt: skip
        content = {"version": "5.4.1", "shapes": shapes, "imagePath": f"{stem}.jpg", "imageWidth": WIDTH}
        text(root / f"json/{stem}.json", json.dumps({**content, "imageHeight": HEIGHT, "imageData": "QUJD"}))

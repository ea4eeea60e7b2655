"""Result pictures: what is read from them is checked on matplotlib's own objects and on pixels."""

from __future__ import annotations

import importlib
import subprocess
import sys
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from ghostyolo.errors import DataError, OutputError
from ghostyolo.evaluate import ImageDetections, evaluate
from ghostyolo.evaluate.confusion import compute_confusion
from ghostyolo.evaluate.curves import compute_curves
from ghostyolo.evaluate.plots import (
    plot_confusion,
    plot_labels_beside_predictions,
    plot_pr_curves,
    plot_training_curves,
    style,
    write_result_pictures,
)
from tests.evaluate.scenes import FakePredictor, load_fake_image, random_split, record

BOX = [10, 10, 50, 50]


@pytest.fixture
def figures(monkeypatch):
    """Keep every figure that is drawn, to look into it."""
    kept = []
    original = style.figure_file

    @contextmanager
    def keeping(*args, **kwargs):
        with original(*args, **kwargs) as figure:
            yield figure
        kept.append(figure)

    for name in ("confusion", "curves", "pictures", "training"):
        monkeypatch.setattr(f"ghostyolo.evaluate.plots.{name}.figure_file", keeping)
    return kept


def texts(axis):
    return [text.get_text() for text in axis.texts]


def lines(axis):
    return {line.get_label(): line.get_xydata().tolist() for line in axis.lines if line.get_label()[0] != "_"}


class TestTraining:
    def test_a_panel_each_for_loss_parts_accuracy_and_learning_rate(self, tmp_path, figures):
        rows = [
            {"epoch": 0, "train/loss": 9.0, "train/box": 2.0, "train/cls": 3.0, "val/AP": 0.1, "lr": 0.01},
            {"epoch": 1, "train/loss": 7.0, "train/box": 1.0, "train/cls": 2.0, "val/AP": 0.3, "lr": 0.02},
        ]
        plot_training_curves(rows, tmp_path / "curves.png")
        panels = {axis.get_title(loc="left"): lines(axis) for axis in figures[0].axes}
        assert panels == {
            "Loss": {"train/loss": [[0, 9], [1, 7]]},
            "Parts of the loss": {"train/box": [[0, 2], [1, 1]], "train/cls": [[0, 3], [1, 2]]},
            "Accuracy on val": {"val/AP": [[0, 0.1], [1, 0.3]]},
            "Learning rate": {"lr": [[0, 0.01], [1, 0.02]]},
        }
        assert figures[0].axes[2].get_title(loc="right") == "best AP 0.300 at epoch 1"
        assert cv2.imread(str(tmp_path / "curves.png")).std() > 10

    @pytest.mark.parametrize("criterion", ["dfl", "yolox", "end2end"])
    def test_the_parts_of_every_criterion_are_drawn(self, tmp_path, figures, criterion):
        losses = importlib.import_module(f"ghostyolo.losses.{criterion}")
        kind = {"dfl": "DflCriterion", "yolox": "YoloXCriterion", "end2end": "EndToEndCriterion"}[criterion]
        parts = [f"train/{part}" for part in getattr(losses, kind).parts]
        plot_training_curves([{"epoch": 0, **dict.fromkeys(parts, 1.0)}], tmp_path / "curves.png")
        assert [list(lines(axis)) for axis in figures[0].axes] == [parts]

    def test_what_a_teacher_adds_to_the_loss_is_drawn(self, tmp_path, figures):
        parts = ["train/box", "train/kd", "train/kd_logits", "train/kd_boxes", "train/kd_features"]
        plot_training_curves([{"epoch": 0, **dict.fromkeys(parts, 1.0)}], tmp_path / "curves.png")
        assert [list(lines(axis)) for axis in figures[0].axes] == [parts]

    def test_text_blanks_nan_and_split_rows_of_a_csv_log_are_taken(self, tmp_path, figures):
        rows = [
            {"epoch": "0", "step": "10", "train/loss": "9.5", "val/AP": ""},
            {"epoch": "0", "step": "10", "train/loss": "", "val/AP": "0.25"},
            {"epoch": "", "train/loss": "1"},
            {"epoch": "1", "train/loss": "nan", "val/AP": None, "note": "resumed"},
            {"epoch": "2", "train/loss": "8.5"},
        ]
        plot_training_curves(rows, tmp_path / "curves.png")
        assert [lines(axis) for axis in figures[0].axes] == [
            {"train/loss": [[0, 9.5], [2, 8.5]]},
            {"val/AP": [[0, 0.25]]},
        ]

    @pytest.mark.parametrize("rows", [[], [{"epoch": 0}], [{"train/loss": 1.0}], [{"epoch": 0, "step": 3}]])
    def test_a_log_without_curves_is_an_error_and_leaves_no_file(self, tmp_path, rows):
        with pytest.raises(DataError, match="no training curves to draw"):
            plot_training_curves(rows, tmp_path / "curves.png")
        assert list(tmp_path.iterdir()) == []


class TestCurvesAndConfusion:
    def test_legend_names_each_class_with_its_ap(self, tmp_path, figures):
        found = ImageDetections.from_arrays([BOX], [0.75], [0])
        curves = compute_curves([record([BOX, BOX], [0, 1])], [found], ["cat", "dog", "absent"])
        plot_pr_curves(curves, tmp_path / "pr.png")
        (legend,) = figures[0].legends
        assert [text.get_text() for text in legend.get_texts()] == [
            "cat  1.000",
            "dog  0.000",
            "all classes  0.500",
        ]
        assert texts(figures[0].axes[1]) == ["best mean F1 0.500 at 0.375"]

    def test_many_classes_are_not_named_one_by_one(self, tmp_path, figures):
        records, detections = random_split(np.random.default_rng(0), images=20, classes=30)
        curves = compute_curves(records, detections, [f"c{i}" for i in range(30)])
        plot_pr_curves(curves, tmp_path / "pr.png")
        named = [text.get_text() for text in figures[0].legends[0].get_texts()]
        assert named[0] == f"{curves.present.sum()} classes"
        assert len(named) == 2

    def test_no_objects_at_all_is_said_in_the_picture(self, tmp_path, figures):
        plot_pr_curves(compute_curves([], [], ["cat"]), tmp_path / "pr.png")
        assert texts(figures[0].axes[0]) == ["no labelled objects"]

    def test_cells_show_counts_and_shares_of_row_or_column(self, tmp_path, figures):
        boxes = [[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9], [60, 0, 69, 9]]
        truth = record(boxes, [0, 0, 0, 0])
        far = [[80, 80, 90, 90]]
        found = ImageDetections.from_arrays(boxes[:3] + far, [0.9] * 4, [0, 0, 0, 0])
        plot_confusion(compute_confusion([truth], [found], ["5$ note"]), tmp_path / "confusion.png")
        axis = figures[0].axes[0]
        assert texts(axis) == ["3\n75%", "1\n25%", "1\n25%"]
        assert [label.get_text() for label in axis.get_yticklabels()] == ["5$ note", "background"]
        assert [label.get_text() for label in axis.get_xticklabels()] == ["5$ note", "missed"]

    def test_a_matrix_of_many_classes_has_no_numbers(self, tmp_path, figures):
        plot_confusion(compute_confusion([], [], [f"c{i}" for i in range(40)]), tmp_path / "confusion.png")
        assert texts(figures[0].axes[0]) == []


class TestPictures:
    names = ("cat", "dog")

    def test_truth_is_left_and_predictions_with_scores_right(self, tmp_path, figures):
        truth = record([BOX, [100, 100, 200, 200]], [0, 1], [False, True], image_id=9)
        found = ImageDetections.from_arrays([BOX, BOX], [0.876, 0.1], [1, 0])
        path = tmp_path / "pictures.png"
        plot_labels_beside_predictions([truth], [found], self.names, path, load_image=load_fake_image)
        left, right = figures[0].axes
        assert texts(left) == ["cat", "dog"]
        assert [patch.get_linestyle() for patch in left.patches] == ["-", "--"]
        assert texts(right) == ["dog 0.88"]
        assert right.patches[0].get_bbox().extents.tolist() == BOX
        assert right.images[0].get_extent() == [0, truth.width, truth.height, 0]
        assert left.get_title(loc="left") == "picture9.jpg"

        pixels = cv2.imread(str(path))[:, :, ::-1].astype(int)
        half = pixels.shape[1] // 2
        for side, label in ((pixels[:, :half], 0), (pixels[:, half:], 1)):
            wanted = [int(style.colour(label)[i : i + 2], 16) for i in (1, 3, 5)]
            assert (np.abs(side - wanted).max(axis=2) < 30).sum() > 100

    def test_pictures_are_taken_evenly_from_those_with_labels(self, tmp_path, figures):
        records = [record([BOX] if n % 2 else [], [0] if n % 2 else [], image_id=n) for n in range(20)]
        plot_labels_beside_predictions(
            records,
            [ImageDetections.empty()] * 20,
            self.names,
            tmp_path / "p.png",
            rows=3,
            load_image=load_fake_image,
        )
        shown = [axis.get_title(loc="left") for axis in figures[0].axes[::2]]
        assert shown == ["picture1.jpg", "picture9.jpg", "picture19.jpg"]

    def test_files_are_read_and_broken_ones_left_out(self, tmp_path, figures):
        good, broken = tmp_path / "good.png", tmp_path / "broken.png"
        cv2.imwrite(str(good), np.full((40, 60, 3), (255, 0, 0), np.uint8))  # blue, as OpenCV writes it
        broken.write_bytes(b"not a picture")
        records = [record([BOX], [0], path=broken), record([BOX], [0], path=good)]
        detections = [ImageDetections.empty()] * 2
        plot_labels_beside_predictions(records, detections, self.names, tmp_path / "p.png")
        assert len(figures[0].axes) == 2
        assert figures[0].axes[0].images[0].get_array()[0, 0].tolist() == [0, 0, 255]

    def test_grey_pictures_are_drawn(self, tmp_path, figures):
        def grey(truth):
            return np.full((40, 60, 1), 77, np.uint8)

        nothing = [ImageDetections.empty()]
        plot_labels_beside_predictions([record()], nothing, self.names, tmp_path / "p.png", load_image=grey)
        assert figures[0].axes[0].images[0].get_array().shape == (40, 60)

    def test_no_readable_picture_is_an_error_and_leaves_no_file(self, tmp_path):
        for records in ([], [record([BOX], [0], path=tmp_path / "missing.jpg")]):
            with pytest.raises(DataError, match="no picture to draw"):
                plot_labels_beside_predictions(
                    records, [ImageDetections.empty()] * len(records), self.names, tmp_path / "p.png"
                )
        assert list(tmp_path.iterdir()) == []


def test_all_pictures_of_an_evaluation_are_written(tmp_path):
    truth = record([BOX], [0], image_id=1, width=80, height=60)
    predictor = FakePredictor(["cat"], {1: ImageDetections.from_arrays([BOX], [0.9], [0])})
    result = evaluate(predictor, [truth], ["cat"], load_image=load_fake_image)
    written = write_result_pictures(result, tmp_path / "new" / "plots", load_image=load_fake_image)
    assert [path.name for path in written] == ["pr_curves.png", "confusion_matrix.png", "predictions.png"]
    assert sorted(path.name for path in (tmp_path / "new" / "plots").iterdir()) == sorted(path.name for path in written)
    assert all(cv2.imread(str(path)) is not None for path in written)


def test_a_failure_in_the_middle_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"), style.figure_file(path, 2, 2):
        raise RuntimeError("half way")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    blocked = tmp_path / "picture.png" / "below.png"
    with pytest.raises(OutputError, match="cannot write"), style.figure_file(blocked, 2, 2):
        pass


def test_names_no_font_covers_raise_no_warning(tmp_path, recwarn):
    curves = compute_curves([record([BOX], [0])], [ImageDetections.empty()], ["自行车"])
    plot_pr_curves(curves, tmp_path / "pr.png")
    assert [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)] == []


def test_drawing_leaves_pyplot_alone(tmp_path):
    code = (
        "import sys\n"
        "from ghostyolo.evaluate.plots import plot_training_curves\n"
        f"plot_training_curves([{{'epoch': 0, 'train/loss': 1}}], {str(tmp_path / 'c.png')!r})\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

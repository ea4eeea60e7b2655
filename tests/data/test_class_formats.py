"""Classification data: class folders, Parquet files, held-out shares, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from ghostyolo.data.formats import class_folders
from ghostyolo.data.formats.classes import load_classes
from ghostyolo.data.labelled import LabelledImage, digest, labels_of, take_evenly
from ghostyolo.errors import DataError
from tests.data.builders import picture
from tests.train.class_pictures import encoded, write_folders, write_parquet

NAMES = ("blue", "green", "red")


def test_folders_with_train_and_val(tmp_path) -> None:
    data = load_classes(write_folders(tmp_path / "data", train=2, val=1))
    assert data.class_names == list(NAMES)
    assert labels_of(data.splits["train"]).tolist() == [0, 0, 1, 1, 2, 2]
    assert data.splits["val"][2] == LabelledImage(tmp_path / "data" / "val" / "red" / "0.png", 2)


def test_folders_of_classes_alone_hold_out_an_even_share_that_no_seed_changes(tmp_path) -> None:
    root = write_folders(tmp_path / "data", train=4, val=0)
    data = load_classes(root, val_share=0.25)
    assert np.bincount(labels_of(data.splits["train"])).tolist() == [3, 3, 3]
    assert np.bincount(labels_of(data.splits["val"])).tolist() == [1, 1, 1]
    paths = {split: {image.path for image in images} for split, images in data.splits.items()}
    assert not paths["train"] & paths["val"]
    assert {image.path for image in load_classes(root, val_share=0.25).splits["val"]} == paths["val"]
    assert set(load_classes(root, val_share=0).splits) == {"train"}


def test_limit_takes_evenly_of_all_classes(tmp_path) -> None:
    data = load_classes(write_folders(tmp_path / "data"), limit=6)
    assert np.bincount(labels_of(data.splits["train"])).tolist() == [2, 2, 2]
    assert len(data.splits["val"]) == 6


def test_a_rare_class_is_kept_by_a_limit() -> None:
    images = [LabelledImage(None, label) for label in [0] * 50 + [1] * 2]  # type: ignore[arg-type]
    assert np.bincount(labels_of(take_evenly(images, 10))).tolist() == [8, 2]


def test_digest_tells_other_labels_and_other_selections_apart(tmp_path) -> None:
    data = load_classes(write_folders(tmp_path / "data"))
    images = data.splits["train"]
    assert digest(images) == digest(list(images))
    relabelled = [LabelledImage(images[0].path, 1), *images[1:]]
    assert (
        len({digest(images), digest(relabelled), digest(take_evenly(images, 6)), digest(take_evenly(images, 3))}) == 4
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "nowhere", "does not exist"),
        (lambda root: root, "neither Parquet files nor class folders"),
        (lambda root: write_folders(root, names=("red",)), r"one class only \('red'\)"),
    ],
)
def test_nothing_to_learn_is_one_line(tmp_path, make, message) -> None:
    with pytest.raises(DataError, match=message) as raised:
        load_classes(make(tmp_path))
    assert "\n" not in str(raised.value)


def test_a_validation_class_that_is_not_trained_is_named(tmp_path) -> None:
    write_folders(tmp_path)
    (tmp_path / "val" / "red").rename(tmp_path / "val" / "pink")
    with pytest.raises(DataError, match=r"val has a class 'pink' that .*train has not"):
        load_classes(tmp_path)


class TestParquet:
    @pytest.fixture(autouse=True)
    def _needs_pyarrow(self) -> None:
        pytest.importorskip("pyarrow", reason="Parquet files are read by the parquet extra")

    def rows(self, count: int = 3) -> list[tuple[bytes | None, int]]:
        return [(encoded(name, number), label) for number in range(count) for label, name in enumerate(NAMES)]

    def test_hub_layout_with_names_in_the_schema(self, tmp_path) -> None:
        rows = self.rows()
        write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", rows[:4], NAMES)
        write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", rows[4:], NAMES)
        write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows[:3], NAMES)
        data = load_classes(tmp_path)
        train = data.splits["train"]
        assert data.class_names == list(NAMES)
        assert [image.label for image in train] == [label for _, label in rows]
        assert [image.encoded for image in train] == [data for data, _ in rows]
        assert train[5].path.name == "train-00001-of-00002.parquet, row 1"
        assert len(data.splits["val"]) == 3

    def test_names_beside_the_file_and_a_held_out_share(self, tmp_path) -> None:
        path = write_parquet(tmp_path / "all.parquet", self.rows(4))
        (tmp_path / "classes.txt").write_text("sky\ngrass\nbrick\n")
        data = load_classes(path, val_share=0.25)
        assert data.class_names == ["sky", "grass", "brick"]
        assert np.bincount(labels_of(data.splits["val"])).tolist() == [1, 1, 1]

    def test_labels_of_text_are_classes_by_name(self, tmp_path) -> None:
        rows = [(encoded("red", 0), "red"), (encoded("blue", 0), "blue")]
        data = load_classes(write_parquet(tmp_path / "train.parquet", rows), val_share=0)
        assert (data.class_names, labels_of(data.splits["train"]).tolist()) == (["blue", "red"], [1, 0])

    @pytest.mark.parametrize("label", [3, -1, None])
    def test_a_label_that_cannot_be_trusted_names_file_and_row(self, tmp_path, label) -> None:
        rows = [*self.rows(), (encoded("red", 0), label)]
        path = write_parquet(tmp_path / "train.parquet", rows, NAMES)
        with pytest.raises(DataError, match=rf"train\.parquet, row 9: the label {label} is none of the 3 classes"):
            load_classes(path)

    def test_damaged_files_and_unknown_columns_are_one_line(self, tmp_path) -> None:
        path = tmp_path / "train.parquet"
        path.write_bytes(b"PAR1 is how they begin")
        with pytest.raises(DataError, match=r"train\.parquet is damaged or no Parquet file"):
            load_classes(path)
        write_parquet(path, self.rows())
        with pytest.raises(DataError, match=r"a column 'breed': it has image \(struct.*label \(int64\)"):
            load_classes(path, label_column="breed")

    def test_test_files_alone_are_no_training_data(self, tmp_path) -> None:
        write_parquet(tmp_path / "test.parquet", self.rows())
        with pytest.raises(DataError, match="no training split: its Parquet files are of test"):
            load_classes(tmp_path)


def test_hidden_and_stray_files_are_passed_over_and_counted(tmp_path, caplog):
    for name in ("train/cat/a.png", "train/dog/b.png", "train/stray.png"):
        picture(tmp_path / name)
    for name in ("train/cat/._a.png", "train/cat/.ipynb_checkpoints/a.png", "train/__MACOSX/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")
    data = class_folders.read(tmp_path)
    assert (data.class_names, len(data.splits["train"])) == (["cat", "dog"], 2)
    assert "passed over 2 hidden, 1 outside class folders" in caplog.text


def test_pictures_of_8_bits_need_no_range(tmp_path):
    assert load_classes(write_folders(tmp_path / "data")).pixel_range is None

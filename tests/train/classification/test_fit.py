"""Whole runs of a tiny classifier: what is written, resumed, taught and refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from rich.console import Console
from safetensors.torch import save_file

from ghostyolo.data.formats.classes import load_classes
from ghostyolo.errors import ConfigError, DataError, GhostYoloError, TrainingError, WeightsError
from ghostyolo.models.weights import load_classifier, read_checkpoint
from ghostyolo.train.classification import module as module_file
from ghostyolo.train.classification.start import pretrain
from ghostyolo.train.classification.teacher import build_teacher
from ghostyolo.train.loop import TrainResult
from ghostyolo.train.recipe import ClassRecipe
from tests.train import tiny  # noqa: F401  registers the backbone "test-convs"
from tests.train.class_pictures import OPTIONS, write_folders, write_parquet

MODEL = "test-convs"
MIXED = {"augment.mixup": 0.5}


@pytest.fixture
def data(tmp_path) -> Path:
    return write_folders(tmp_path / "data")


def train(data: Path | None, out: Path, model: str | None = MODEL, **changes: Any) -> TrainResult:
    call = {key: changes.pop(key) for key in ("resume", "console", "recipe") if key in changes}
    options = changes if call.get("resume") else {**OPTIONS, **changes}
    call.setdefault("console", Console(file=io.StringIO()))
    return pretrain(data, model, out=out, options=options, **call)


def weights(result: TrainResult) -> dict[str, torch.Tensor]:
    return read_checkpoint(result.last)[0]


def assert_equal_runs(one: TrainResult, other: TrainResult) -> None:
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in run.rows] for run in (one, other)]
    assert rows[0] == rows[1]
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(second[name], tensor), name


def test_a_run_learns_and_writes_its_metrics(data, tmp_path) -> None:
    still = {"augment": {"randaugment": "", "erase": 0.0, "fliplr": 0.0, "crop": "padded", "padding": 0}}
    result = train(data, tmp_path / "run", epochs=12, lr=0.02, **still)
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert written == result.metrics
    assert written["top1"] == 1.0  # three plain colours
    assert written["top5"] == 1.0  # of three classes
    assert (written["epochs"], written["classes"], written["pictures"]) == (12, 3, {"train": 12, "val": 6})
    assert written["images_per_second"] > 0
    assert written["macs_deployed"] > 0
    assert result.rows[-1]["train/loss"] < result.rows[0]["train/loss"] / 2
    network, metadata = load_classifier(result.best)
    assert (metadata.class_names, metadata.imgsz) == (["blue", "green", "red"], 32)
    assert metadata.metrics["top1"] == 1.0
    assert network.backbone.channels == (8, 8, 16)


def test_same_seed_same_result_and_another_seed_another(data, tmp_path) -> None:
    first = train(data, tmp_path / "a", **MIXED)
    assert_equal_runs(first, train(data, tmp_path / "b", **MIXED))
    other = train(data, tmp_path / "c", **MIXED, seed=1)
    assert other.rows[0]["train/loss"] != first.rows[0]["train/loss"]


@pytest.mark.parametrize("changes", [{"optimizer": "lamb", **MIXED}, {"nominal_batch": 8, "augment.cutmix": 0.5}])
def test_a_resumed_run_ends_as_the_uninterrupted_one(data, tmp_path, monkeypatch, changes) -> None:
    whole = train(data, tmp_path / "whole", **changes)
    original = module_file.ClassModule.training_step

    def stops(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt
        return original(self, batch, batch_idx)

    monkeypatch.setattr(module_file.ClassModule, "training_step", stops)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", **changes)
    monkeypatch.undo()
    assert not (tmp_path / "cut" / "metrics.json").exists()
    assert_equal_runs(whole, train(None, tmp_path / "cut", None, resume=True))


def test_resuming_with_another_recipe_data_or_model_is_refused(data, tmp_path) -> None:
    train(data, tmp_path / "run", epochs=1)
    before = (tmp_path / "run" / "config.yaml").read_text()
    for changes, key in (({"lr": 0.5}, "lr"), ({"augment.mixup": 0.1}, "augment.mixup"), ({"epochs": 9}, "epochs")):
        with pytest.raises(ConfigError, match=f"another '{key}'"):
            train(data, tmp_path / "run", resume=True, **changes)
    with pytest.raises(ConfigError, match="another 'model'"):
        train(data, tmp_path / "run", "ghostnetv1:width=0.25", resume=True)
    smaller = write_folders(tmp_path / "smaller", train=3)
    with pytest.raises(ConfigError, match="another 'pictures'"):
        train(smaller, tmp_path / "run", resume=True)
    with pytest.raises(TrainingError, match="already holds a training run"):
        train(data, tmp_path / "run")
    with pytest.raises(TrainingError, match="nothing to resume"):
        train(data, tmp_path / "elsewhere", resume=True)
    assert (tmp_path / "run" / "config.yaml").read_text() == before


@pytest.mark.parametrize("changes", [{"precision": "bf16", "channels_last": True}, {"workers": 1, "cache": "ram"}])
def test_ways_of_computing_do_not_change_what_is_learned(data, tmp_path, changes) -> None:
    plain = train(data, tmp_path / "plain", epochs=2)
    other = train(data, tmp_path / "other", epochs=2, **changes)
    for one, two in zip(plain.rows, other.rows, strict=True):
        assert two["train/loss"] == pytest.approx(one["train/loss"], rel=0.05)


def test_grey_pictures_train_a_network_of_one_channel(data, tmp_path) -> None:
    result = pretrain(data, MODEL, out=tmp_path / "run", options={**OPTIONS, "epochs": 1, "channels": 1},
                      console=Console(file=io.StringIO()))  # fmt: skip
    network, metadata = load_classifier(result.best)
    assert (metadata.in_channels, network.backbone.fine[0].in_channels) == (1, 1)


@pytest.fixture
def teacher(data, tmp_path) -> Path:
    return train(data, tmp_path / "teacher", epochs=1).best


def test_a_teacher_of_ours_teaches_and_its_cost_is_printed(data, tmp_path, teacher) -> None:
    before = teacher.read_bytes()
    console = Console(file=io.StringIO())
    result = train(data, tmp_path / "run", epochs=1, teacher=str(teacher), alpha=1.0, tau=2.0, console=console)
    said = console.file.getvalue()
    assert "M MACs a picture of 32 x 32; alpha 1, tau 2" in said
    assert result.rows[0]["train/ce"] == 0
    assert result.rows[0]["train/kd"] > 0
    assert teacher.read_bytes() == before
    assert not any("teacher" in name for name in weights(result))


def test_alpha_zero_is_training_on_labels(data, tmp_path, teacher) -> None:
    plain = train(data, tmp_path / "plain", epochs=2)
    taught = train(data, tmp_path / "taught", epochs=2, teacher=str(teacher), alpha=0.0)
    for name, tensor in weights(plain).items():
        assert torch.equal(weights(taught)[name], tensor)


@pytest.mark.parametrize("changes", [{}, {**MIXED}])
def test_cached_logits_give_the_same_run_without_a_teacher(data, tmp_path, teacher, monkeypatch, changes) -> None:
    options = {"teacher": str(teacher), "teacher_cache": str(tmp_path / "cache"), "epochs": 2, **changes}
    first = train(data, tmp_path / "first", **options)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {
        "cache.json", "epoch0001.safetensors", "epoch0002.safetensors",
    }  # fmt: skip
    monkeypatch.setattr("ghostyolo.train.classification.fit.build_teacher", None)  # calling it would fail
    console = Console(file=io.StringIO())
    assert_equal_runs(first, train(data, tmp_path / "second", console=console, **options))
    assert "the teacher is not run" in console.file.getvalue()
    for key, value in (("seed", 5), ("epochs", 3), ("augment.erase", 0.0), ("limit", 6)):
        with pytest.raises(ConfigError, match="is of another run"):
            train(data, tmp_path / "third", **{**options, key: value})
    assert not (tmp_path / "third").exists()


def test_a_teacher_of_other_classes_is_refused(tmp_path, teacher) -> None:
    others = write_folders(tmp_path / "others", names=("blue", "green"))
    with pytest.raises(ConfigError, match=r"has classes \[blue, green, red\], the data \[blue, green\]"):
        train(others, tmp_path / "run", teacher=str(teacher))
    assert not (tmp_path / "run").exists()


@pytest.fixture
def timm_weights(tmp_path) -> Path:
    torch.manual_seed(0)
    net = timm.create_model("resnet10t", num_classes=3)
    save_file({name: tensor.half() for name, tensor in net.state_dict().items()}, tmp_path / "resnet.safetensors")
    return tmp_path / "resnet.safetensors"


def test_a_timm_teacher_keeps_the_precision_of_its_weights(timm_weights) -> None:
    settings = ClassRecipe.from_dict({"teacher": "resnet10t", "teacher_weights": str(timm_weights), "imgsz": 32})
    teacher = build_teacher(settings, ["a", "b", "c"], 3)
    assert {parameter.dtype for parameter in teacher.net.parameters()} == {torch.float16}
    assert not teacher.net.training
    assert not any(parameter.requires_grad for parameter in teacher.net.parameters())
    images = torch.rand(2, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = teacher.logits(images)
    normal = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    with torch.no_grad():
        torch.testing.assert_close(logits, teacher.net(normal.half()).float())


def test_a_timm_teacher_of_one_size_says_how_to_give_it(tmp_path) -> None:
    net = timm.create_model("vit_tiny_patch16_224", num_classes=2, depth=1)
    path = tmp_path / "vit.safetensors"
    save_file({name: tensor for name, tensor in net.state_dict().items() if ".1" not in name}, path)
    settings = {"teacher": "vit_tiny_patch16_224", "teacher_weights": str(path), "imgsz": 32}
    with pytest.raises(WeightsError, match="is not of 'vit_tiny_patch16_224'"):
        build_teacher(ClassRecipe.from_dict(settings), ["a", "b"], 3)
    net = timm.create_model("vit_tiny_patch16_224", num_classes=2)
    save_file(net.state_dict(), path)
    with pytest.raises(ConfigError, match=r"cannot take pictures of 32 x 32.*teacher_imgsz"):
        build_teacher(ClassRecipe.from_dict(settings), ["a", "b"], 3)
    taken = build_teacher(ClassRecipe.from_dict({**settings, "teacher_imgsz": 224}), ["a", "b"], 3)
    assert taken.logits(torch.rand(1, 3, 32, 32)).shape == (1, 2)
    with pytest.raises(ConfigError, match="has 2 classes, the data 3"):
        build_teacher(ClassRecipe.from_dict({**settings, "teacher_imgsz": 224}), ["a", "b", "c"], 3)


def test_a_teacher_whose_weights_cannot_be_fetched_says_what_to_give(data, tmp_path, monkeypatch) -> None:
    def offline(*args, **kwargs):
        raise OSError("no route\nto the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match=r"teacher 'resnet18' can be had \(no route to the hub\).*teacher_weights"):
        train(data, tmp_path / "run", teacher="resnet18")


def test_missing_and_damaged_teachers_are_one_line(data, tmp_path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"none")
    wrong = [
        {"teacher": "resnet188", "teacher_weights": str(tmp_path / "bad.safetensors")},
        {"teacher": "resnet18", "teacher_weights": str(tmp_path / "bad.safetensors")},
        {"teacher": "resnet18", "teacher_weights": str(tmp_path / "nowhere.pth")},
        {"teacher": str(tmp_path / "bad.safetensors")},
        {"teacher": str(tmp_path / "nowhere.safetensors")},
    ]
    for options in wrong:
        with pytest.raises(GhostYoloError) as raised:
            train(data, tmp_path / "run", **options)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lambb"}, "unknown optimizer 'lambb': did you mean lamb"),
        ({"augment.randaugment": "m9"}, "which timm does not take"),
        ({"model": "timm:vit_tiny_patch16_224"}, "cannot take pictures of 32 x 32"),
        ({"model": None}, "which network"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(data, tmp_path, changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        train(data, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_broken_pictures_are_skipped_and_reported(data, tmp_path) -> None:
    (data / "train" / "red" / "0.png").write_bytes(b"\x89PNG\r\n")
    (data / "val" / "red" / "0.png").write_bytes(b"")
    console = Console(file=io.StringIO())
    result = train(data, tmp_path / "run", epochs=1, console=console)
    assert sorted(Path(path).parts[-3] for path in result.metrics["pictures_skipped"]) == ["train", "val"]
    assert "skipped 2 pictures" in console.file.getvalue()


def test_no_readable_picture_at_all_is_an_error(data, tmp_path) -> None:
    for path in (data / "train").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 12 training pictures can be read"):
        train(data, tmp_path / "run", epochs=1)


def test_without_validation_the_last_weights_are_the_best(tmp_path, caplog) -> None:
    data = write_folders(tmp_path / "data", val=0)
    result = train(data, tmp_path / "run", epochs=1, val_share=0.0)
    assert (result.metrics["top1"], result.metrics["best_epoch"]) == (None, 0)
    assert result.best.read_bytes() == result.last.read_bytes()
    assert "no val split" in caplog.text


def test_parquet_and_folders_train_alike(data, tmp_path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet files are read by the parquet extra")
    images = load_classes(data).splits
    for split in ("train", "val"):
        rows = [(image.path.read_bytes(), image.label) for image in images[split]]
        write_parquet(tmp_path / "parquet" / f"{split}.parquet", rows, ("blue", "green", "red"))
    first, second = train(data, tmp_path / "a", epochs=2), train(tmp_path / "parquet", tmp_path / "b", epochs=2)
    for name, tensor in weights(first).items():
        assert torch.equal(weights(second)[name], tensor)


def test_a_corrupt_row_is_skipped_by_file_and_row(data, tmp_path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet files are read by the parquet extra")
    rows = [(image.path.read_bytes(), image.label) for image in load_classes(data).splits["train"]]
    rows[7] = (b"no picture", rows[7][1])
    rows[9] = (None, rows[9][1])
    write_parquet(tmp_path / "train.parquet", rows)
    result = train(tmp_path / "train.parquet", tmp_path / "run", epochs=1, val_share=0.0)
    assert sorted(Path(path).name for path in result.metrics["pictures_skipped"]) == [
        "train.parquet, row 7", "train.parquet, row 9",
    ]  # fmt: skip

"""Whole runs of a tiny detector: what they write and refuse, and that a resumed one equals a straight one."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from ghostyolo.data.join import join_datasets
from ghostyolo.data.records import DetectionData
from ghostyolo.errors import ConfigError, DataError, OutputError, TrainingError
from ghostyolo.losses.dfl import DflCriterion
from ghostyolo.losses.yolox import YoloXCriterion
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.weights import load_checkpoint
from ghostyolo.train import epoch_end
from ghostyolo.train.detection.fit import fit
from ghostyolo.train.loop import TrainResult
from tests.train import tiny

FILES = {
    "best.safetensors", "last.safetensors", "resume.ckpt", "config.yaml", "metrics.csv", "results.json",
}  # fmt: skip


def train(
    data: DetectionData,
    out: Path,
    *,
    resume: bool = False,
    criterion=None,
    in_channels: int = 3,
    console: Console | None = None,
    **changes,
) -> TrainResult:
    model, metadata = tiny.model_and_metadata(in_channels)
    console = console or Console(quiet=True)
    recipe = tiny.recipe(**changes)
    return fit(model, metadata, data, recipe, out, resume=resume, criterion=criterion, console=console)


class StopAt:
    """The usual criterion, until a call at which it raises, or returns NaN."""

    parts, takes_known = DflCriterion.parts, DflCriterion.takes_known

    def __init__(self, call: int, error: type[BaseException] | None = None) -> None:
        self.inner = DflCriterion(len(tiny.CLASS_NAMES), bins=4)
        self.call, self.error, self.calls = call, error, 0

    def __call__(self, output, targets):
        self.calls += 1
        losses = self.inner(output, targets)
        if self.calls == self.call:
            if self.error is not None:
                raise self.error
            losses["loss"] = losses["loss"] * float("nan")
        return losses


def test_run_writes_weights_resume_state_config_and_logs(tmp_path) -> None:
    result = train(tiny.squares(tmp_path / "data"), tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    assert [row["epoch"] for row in result.rows] == [1, 2, 3, 4]
    model, metadata = load_checkpoint(result.best)
    assert metadata.class_names == tiny.CLASS_NAMES
    assert metadata.metrics["epoch"] in (1, 2, 3, 4)
    assert metadata.metrics["AP"] == result.rows[metadata.metrics["epoch"] - 1]["val/AP"]
    boxes, scores = model(torch.zeros(1, 3, 64, 64))
    assert (boxes.shape, scores.shape) == ((1, 84, 4), (1, 84, 2))
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert {"epoch", "seconds", "train/loss", "train/box", "val/AP", "val/AP50", "lr"} <= set(rows[0])
    assert float(rows[-1]["train/loss"]) == pytest.approx(result.rows[-1]["train/loss"], rel=1e-6)


def test_the_best_weights_know_their_best_confidence(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    result = train(data, tmp_path / "run")
    scores = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    known = load_checkpoint(result.best)[1].best_confidence
    assert known is not None
    assert known.overall == pytest.approx(scores["best"]["confidence"], abs=1e-4)
    assert set(scores["per_class"]["red"]) >= {"AP", "precision", "recall", "f1", "confidence"}
    assert load_checkpoint(result.last)[1].best_confidence is None  # it was not looked at


def test_a_run_tells_what_it_does_and_what_came_of_it(tmp_path) -> None:
    text = io.StringIO()
    data = tiny.squares(tmp_path / "data")
    train(data, tmp_path / "run", plots=True, console=Console(file=text, width=80))
    said = text.getvalue()
    assert re.search(r"trains tiny \(0\.\d\d M parameters\) for 2 classes \[red, green\] on cpu, 1 thread \(", said)
    assert "4 epochs of 3 batches at 64 px, " in said
    assert re.search(r"^epoch 1/4 .* left \d:\d\d:\d\d  lr \d", said, re.MULTILINE)
    assert re.search(r"│ red +│", said)
    assert "(conf)" in said
    assert "<!doctype html>" in (tmp_path / "run" / "worst.html").read_text()


def test_a_folder_that_still_trains_is_not_resumed_until_that_process_is_gone(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    train(data, tmp_path / "run")
    code = (
        "import sys, time\n"
        "from ghostyolo.train.run_folder import hold\n"
        f"with hold({str(tmp_path / 'run')!r}):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match="is being trained by another process"):
            train(data, tmp_path / "run", resume=True)
        other.kill()
    assert len(train(data, tmp_path / "run", resume=True).rows) == 4


def test_trained_weights_learn_at_a_third_of_the_usual_rate(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    fresh = train(data, tmp_path / "fresh")
    for kind in ("weights", "backbone_weights"):
        tuned = train(data, tmp_path / kind, **{kind: "some.safetensors"})
        rates = [(row["lr"], other["lr"]) for row, other in zip(tuned.rows, fresh.rows, strict=True)]
        assert all(low == pytest.approx(high / 3, rel=1e-3) for low, high in rates)


def test_a_backbone_that_fetched_its_weights_learns_at_that_rate_too(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    rates = []
    for pretrained in (False, True):
        model, metadata = tiny.model_and_metadata()
        backbone = {"type": "timm", "params": {"pretrained": pretrained}}
        metadata = metadata.model_copy(update={"config": {"backbone": backbone}})
        run = fit(model, metadata, data, tiny.recipe(), tmp_path / str(pretrained), console=Console(quiet=True))
        rates.append(run.rows[-1]["lr"])
    assert rates[1] == pytest.approx(rates[0] / 3, rel=1e-3)


def test_training_lowers_the_loss_and_finds_the_squares(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data", train=8, val=8)
    calm = dict.fromkeys(("mosaic", "scale", "translate", "fliplr", "hsv_h", "hsv_s", "hsv_v"), 0.0)
    options = {"epochs": 40, "lr": 0.05, "optimizer": "adamw", "val_every": 40, "augment": calm}
    result = train(data, tmp_path / "run", batch=8, nominal_batch=8, **options)
    assert result.rows[-1]["train/loss"] < result.rows[0]["train/loss"] / 2
    assert result.metrics is not None
    assert result.metrics.AP50 is not None
    assert result.metrics.AP50 > 0.5


def test_resumed_run_equals_an_uninterrupted_one(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    straight = train(data, tmp_path / "straight")
    # 3 batches an epoch: the eighth is in the middle of the third epoch.
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", criterion=StopAt(8, KeyboardInterrupt))
    assert not (tmp_path / "cut" / "results.json").exists()
    resumed = train(data, tmp_path / "cut", resume=True)
    assert_same_run(straight, resumed)


def halves(data):
    """The squares as two sets: one labels the red ones only, the other the green ones."""
    parts = []
    for label, name in enumerate(tiny.CLASS_NAMES):
        splits = {
            split: [
                dataclasses.replace(record, labels=np.zeros_like(record.labels))
                for record in records
                if record.labels.tolist() == [label]
            ]
            for split, records in data.splits.items()
        }
        parts.append(dataclasses.replace(data, class_names=[name], splits=splits))
    return join_datasets(parts, ["a", "b"])


def test_a_resumed_run_on_two_sets_equals_an_uninterrupted_one(tmp_path) -> None:
    data = halves(tiny.squares(tmp_path / "data", train=10, val=4))
    assert data.class_names == tiny.CLASS_NAMES
    changes = {"set_temperature": 2.0, "epochs": 3}
    straight = train(data, tmp_path / "straight", **changes)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", criterion=StopAt(7, KeyboardInterrupt), **changes)
    resumed = train(data, tmp_path / "cut", resume=True, **changes)
    assert_same_run(straight, resumed)


def test_a_head_with_objectness_is_refused_where_sets_label_different_classes(tmp_path) -> None:
    data = halves(tiny.squares(tmp_path / "data"))
    with pytest.raises(ConfigError, match="learns objectness"):
        train(data, tmp_path / "run", criterion=YoloXCriterion(2))
    assert not (tmp_path / "run").exists()


def assert_same_run(straight: TrainResult, resumed: TrainResult) -> None:
    assert len(straight.rows) == len(resumed.rows)
    for one, other in zip(straight.rows, resumed.rows, strict=True):
        for key in set(one) - {"seconds"}:
            assert other[key] == pytest.approx(one[key], rel=1e-6, abs=1e-6), (key, one["epoch"])
    assert resumed.best_epoch == straight.best_epoch
    assert resumed.metrics == straight.metrics
    for name in ("best", "last"):
        expected, _ = load_checkpoint(getattr(straight, name))
        actual, _ = load_checkpoint(getattr(resumed, name))
        for key, tensor in expected.state_dict().items():
            torch.testing.assert_close(actual.state_dict()[key], tensor, rtol=1e-6, atol=1e-7, msg=key)


def test_run_in_another_thread_works_and_ctrl_c_is_itself_again_after_an_interrupted_run(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", epochs=1, criterion=StopAt(2, KeyboardInterrupt))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(train, data, tmp_path / "thread", epochs=1).result().rows) == 1


def test_run_cut_in_its_first_epoch_resumes_from_the_start(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", epochs=1, criterion=StopAt(2, KeyboardInterrupt))
    resumed = train(data, tmp_path / "cut", epochs=1, resume=True)
    assert_same_run(train(data, tmp_path / "straight", epochs=1), resumed)


def test_finished_run_resumes_to_the_same_result_without_training(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    first = train(data, tmp_path / "run", epochs=2)
    again = train(data, tmp_path / "run", epochs=2, resume=True, criterion=StopAt(1, KeyboardInterrupt))
    assert_same_run(first, again)


def test_early_stop_counts_on_over_a_resume(tmp_path, monkeypatch) -> None:
    scores = iter([0.5, 0.4, 0.3, 0.2])

    def falling(self, trainer, module):
        return {"AP": next(scores)}

    monkeypatch.setattr(epoch_end.EpochEnd, "_validate", falling)
    data = tiny.squares(tmp_path / "data")
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "run", epochs=9, patience=2, criterion=StopAt(5, KeyboardInterrupt))
    result = train(data, tmp_path / "run", epochs=9, patience=2, resume=True)
    assert (len(result.rows), result.best_epoch, result.stopped_early) == (3, 1, True)
    # Stopped early is finished: nothing is trained, or the next call of the criterion would raise.
    again = train(data, tmp_path / "run", epochs=9, patience=2, resume=True, criterion=StopAt(1, KeyboardInterrupt))
    assert len(again.rows) == 3


def test_same_seed_gives_the_same_weights_and_another_seed_does_not(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    losses = [
        train(data, tmp_path / name, epochs=1, seed=seed).rows[0]["train/loss"]
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(("key", "value"), [("seed", 5), ("batch", 3), ("epochs", 5)])
def test_resume_with_another_recipe_names_the_key_and_changes_nothing(tmp_path, key, value) -> None:
    data = tiny.squares(tmp_path / "data")
    train(data, tmp_path / "run", epochs=1)
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(ConfigError, match=f"another '{key}'"):
        train(data, tmp_path / "run", **{"epochs": 1, key: value}, resume=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_resume_on_changed_labels_is_refused(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    train(data, tmp_path / "run", epochs=1)
    data.splits["train"][0].boxes_xyxy[0, 0] += 1
    with pytest.raises(ConfigError, match="another 'labels_digest'"):
        train(data, tmp_path / "run", epochs=1, resume=True)


def test_taken_folder_offers_resume_or_another_place(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    train(data, tmp_path / "run", epochs=1)
    with pytest.raises(TrainingError, match="--resume, or choose another --out"):
        train(data, tmp_path / "run", epochs=1)


def test_nothing_to_resume_is_said(tmp_path) -> None:
    with pytest.raises(TrainingError, match="nothing to resume"):
        train(tiny.squares(tmp_path / "data"), tmp_path / "none", resume=True)


def test_nan_loss_stops_with_the_files_named_and_the_last_good_weights_kept(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    with pytest.raises(TrainingError, match="the loss is not a number"):
        train(data, tmp_path / "run", criterion=StopAt(5))
    written = json.loads((tmp_path / "run" / "nan_batch.json").read_text())
    assert (written["epoch"], written["batch"]) == (2, 1)
    assert len(written["files"]) == 2
    model, metadata = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert metadata.metrics["epoch"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


def test_broken_picture_is_skipped_counted_and_reported(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    broken = data.splits["train"][2].path
    broken.write_bytes(broken.read_bytes()[:60])
    said = io.StringIO()
    result = train(data, tmp_path / "run", epochs=2, console=Console(file=said, width=200))
    assert list(result.broken) == [str(broken)]
    assert "skipped 1 pictures that cannot be read: 2.png" in said.getvalue()
    assert str(broken) in json.loads((tmp_path / "run" / "results.json").read_text())["pictures_skipped"]


def test_broken_val_picture_is_left_out_and_reported_once(tmp_path, caplog) -> None:
    data = tiny.squares(tmp_path / "data")
    broken = data.splits["val"][0].path
    broken.write_bytes(b"no picture")
    said = io.StringIO()
    result = train(data, tmp_path / "run", epochs=2, console=Console(file=said, width=200))
    assert "skipped 1 pictures that cannot be read: 6.png" in said.getvalue()
    assert str(broken) in json.loads((tmp_path / "run" / "results.json").read_text())["pictures_skipped"]
    assert result.metrics is not None
    assert result.metrics.images == 1
    assert caplog.text.count("skipped ") == 1


def test_batch_of_broken_pictures_only_is_survived(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data", train=3)
    for record in data.splits["train"][:2]:
        record.path.write_bytes(b"no picture")
    result = train(data, tmp_path / "run", epochs=1, batch=1)
    assert np.isfinite(result.rows[0]["train/loss"])


def norms_one_cell(imgsz: int) -> tuple[DetectionModel, ModelMetadata]:
    """A detector whose coarsest map, of one cell at 32 px, has a batch norm."""
    model, metadata = tiny.model_and_metadata(imgsz=imgsz)
    model.backbone.coarse.append(nn.BatchNorm2d(16))
    return model, metadata


@pytest.mark.parametrize(("pictures", "broken"), [(3, 0), (1, 0), (4, 1), (4, 2)])
def test_a_batch_of_one_picture_does_not_end_a_network_with_maps_of_one_cell(tmp_path, pictures, broken) -> None:
    data = tiny.squares(tmp_path / "data", train=pictures)
    for record in data.splits["train"][:broken]:
        record.path.write_bytes(b"no picture")
    model, metadata = norms_one_cell(32)
    result = fit(model, metadata, data, tiny.recipe(imgsz=32, epochs=2), tmp_path / "run", console=Console(quiet=True))
    assert np.isfinite(result.rows[-1]["train/loss"])


def test_batches_of_one_are_refused_where_a_norm_would_see_one_value(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data", train=3)
    model, metadata = norms_one_cell(32)
    with pytest.raises(ConfigError, match="batch 1 at imgsz 32"):
        fit(model, metadata, data, tiny.recipe(imgsz=32, batch=1), tmp_path / "run", console=Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_pictures_that_do_not_fit_into_memory_are_said_and_read_anew(tmp_path, monkeypatch, capsys) -> None:
    data = tiny.squares(tmp_path / "data", train=6)
    monkeypatch.setattr("ghostyolo.train.detection.fit.free_memory", lambda: 5 * 64 * 48 * 3)
    result = train(data, tmp_path / "run", epochs=1, console=Console(width=300))
    assert "cache: 2 of 6 pictures are kept" in capsys.readouterr().out
    assert np.isfinite(result.rows[0]["train/loss"])


def test_only_broken_pictures_are_a_data_error(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data", train=2)
    for record in data.splits["train"]:
        record.path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="none of the 2 training pictures can be read"):
        train(data, tmp_path / "run", epochs=2)


def test_pictures_without_objects_train(tmp_path) -> None:
    result = train(tiny.squares(tmp_path / "data", empty=True), tmp_path / "run", epochs=2)
    assert all(np.isfinite(row["train/loss"]) for row in result.rows)
    assert result.rows[-1]["train/box"] == 0
    assert result.metrics is not None
    assert result.metrics.AP is None


def test_grey_pictures_train(tmp_path) -> None:
    result = train(tiny.squares(tmp_path / "data"), tmp_path / "run", in_channels=1, epochs=1)
    model, metadata = load_checkpoint(result.last)
    assert metadata.in_channels == 1
    assert model(torch.zeros(1, 1, 64, 64))[0].shape == (1, 84, 4)


def test_without_a_val_split_the_last_weights_are_the_best(tmp_path) -> None:
    data = tiny.without_split(tiny.squares(tmp_path / "data"), "val")
    result = train(data, tmp_path / "run", epochs=2)
    assert result.metrics is None
    assert result.best.read_bytes() == result.last.read_bytes()


def test_validation_runs_every_so_many_epochs_and_after_the_last(tmp_path) -> None:
    result = train(tiny.squares(tmp_path / "data"), tmp_path / "run", epochs=5, val_every=3)
    assert [row["epoch"] for row in result.rows if "val/AP" in row] == [3, 5]


def test_no_training_pictures_is_a_data_error_and_makes_no_folder(tmp_path) -> None:
    data = tiny.without_split(tiny.squares(tmp_path / "data"), "train")
    with pytest.raises(DataError, match="no training pictures"):
        train(data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_image_side_must_fit_the_stride(tmp_path) -> None:
    with pytest.raises(ConfigError, match="imgsz 70 is not a multiple of 32: the nearest valid one is 64"):
        train(tiny.squares(tmp_path / "data"), tmp_path / "run", imgsz=70)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_absent_device_is_a_config_error(tmp_path) -> None:
    with pytest.raises(ConfigError, match="torch sees 0 CUDA devices"):
        train(tiny.squares(tmp_path / "data"), tmp_path / "run", device="cuda")


def test_model_of_other_classes_is_refused(tmp_path) -> None:
    model, _ = tiny.model_and_metadata()
    metadata = ModelMetadata(model="tiny", class_names=["cat", "dog"], imgsz=64)
    with pytest.raises(ConfigError, match="the model has classes"):
        fit(model, metadata, tiny.squares(tmp_path / "data"), tiny.recipe(), tmp_path / "run")


def test_full_disk_is_one_clear_line_and_keeps_the_last_good_weights(tmp_path, monkeypatch) -> None:
    data = tiny.squares(tmp_path / "data")
    real, calls = epoch_end.save_checkpoint, []

    def full(model, metadata, path):
        calls.append(path)
        if len(calls) > 2:  # best and last of the first epoch
            raise epoch_end.SafetensorError("I/O error: No space left on device (os error 28)")
        real(model, metadata, path)

    monkeypatch.setattr(epoch_end, "save_checkpoint", full)
    with pytest.raises(OutputError, match=r"cannot write .*is the disk full\?"):
        train(data, tmp_path / "run")
    monkeypatch.undo()
    _, metadata = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert metadata.metrics["epoch"] == 1
    assert len(train(data, tmp_path / "run", resume=True).rows) == 4


@pytest.mark.parametrize("choice", [{"precision": "bf16"}, {"channels_last": True}, {"workers": 1}])
def test_other_ways_to_run_train_too(tmp_path, choice) -> None:
    result = train(tiny.squares(tmp_path / "data"), tmp_path / "run", epochs=1, **choice)
    assert np.isfinite(result.rows[0]["train/loss"])


def test_progress_outside_a_terminal_is_one_line_an_epoch(tmp_path, capfd) -> None:
    said = io.StringIO()
    train(tiny.squares(tmp_path / "data"), tmp_path / "run", epochs=2, console=Console(file=said, width=200))
    lines = [line for line in said.getvalue().splitlines() if line.startswith("epoch")]
    assert [line[:9] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all(word in lines[1] for word in (" s ", "box", "cls", "dfl", "AP "))
    # Nor do Lightning and torch say anything beside it.
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_progress_in_a_terminal_shows_epoch_losses_accuracy_and_time_left(tmp_path) -> None:
    said = io.StringIO()
    terminal = Console(file=said, width=160, force_terminal=True)
    train(tiny.squares(tmp_path / "data"), tmp_path / "run", epochs=2, console=terminal)
    for shown in ("epoch 2/2", "left", "box ", "cls ", "dfl ", "AP 0", "lr ", "GiB"):
        assert shown in said.getvalue()


def test_pictures_and_tensorboard_logs_are_written(tmp_path) -> None:
    data = tiny.squares(tmp_path / "data")
    result = train(data, tmp_path / "run", epochs=2, plots=True, tensorboard=True)
    assert (result.folder / "worst.html").is_file()
    for name in ("results.png", "pr_curves.png", "confusion_matrix.png", "predictions.png"):
        assert cv2.imread(str(result.folder / name)) is not None, name
    assert list((result.folder / "tensorboard").glob("events.out.tfevents.*"))

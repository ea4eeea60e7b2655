"""``ghostyolo pretrain``, as a user types it, and its weights in a detector."""

from __future__ import annotations

import csv
import json

import pytest

from ghostyolo.models.weights import load_checkpoint, read_checkpoint
from tests.train import tiny
from tests.train.class_pictures import write_folders

OPTIONS = ["--recipe", "cifar", "--epochs", 1, "--batch", 6, "--set", "branches=2", "--threads", 1, "--device", "cpu"]


def test_trains_a_backbone_that_a_detector_starts_from(run_cli, type_cli, tmp_path) -> None:
    data, out = write_folders(tmp_path / "data", train=2, val=1), tmp_path / "run"
    done = run_cli("pretrain", "--data", data, "--model", "yolov8p-ghostnetv3", *OPTIONS, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("trains yolov8p-ghostnetv3")
    assert any(line.startswith("epoch 1/1") and "top1" in line for line in lines)
    assert f"in a detector: ghostyolo train --set backbone_weights={out / 'best.safetensors'}" in lines
    metrics = json.loads((out / "metrics.json").read_text())
    assert 0 <= metrics["top1"] <= metrics["top5"] == 1
    assert (metrics["epochs"], metrics["model"], metrics["branches"]) == (1, "yolov8p-ghostnetv3", 2)

    pictures = tiny.write_yolo(tiny.squares(tmp_path / "pictures", train=2, val=2))
    shared = [
        "--data",
        pictures,
        "--model",
        "yolov8p-ghostnetv3",
        "--set",
        f"backbone_weights={out / 'best.safetensors'}",
    ]
    short = [
        "--imgsz",
        64,
        "--epochs",
        1,
        "--batch",
        2,
        "--threads",
        1,
        "--device",
        "cpu",
        "--set",
        "plots=false",
        "--set",
        "lr=1e-9",
    ]
    done = run_cli("train", *shared, *short, "--set", "branches=1", "--out", tmp_path / "detector")
    assert done.returncode == 0, done.stderr
    assert "another number of training branches than the network's: refitted" in done.stderr
    tensors, _ = read_checkpoint(out / "best.safetensors")
    network, _ = load_checkpoint(tmp_path / "detector" / "best.safetensors")
    stem = dict(network.named_parameters())["backbone.stem.conv.weight"]
    assert (stem - tensors["backbone.stem.conv.weight"]).abs().max() < 1e-5

    done = type_cli("pretrain", "--resume", "--out", out, "--set", "lr=0.5")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot resume")
    assert "another 'lr'" in done.stderr


@pytest.mark.slow
def test_two_processes_share_pictures_teacher_and_cache(run_cli, tmp_path) -> None:
    data = write_folders(tmp_path / "data", train=6, val=2)
    shared = [
        "--data",
        data,
        "--model",
        "ghostnetv1:width=0.25",
        *OPTIONS,
        "--set",
        "devices=2",
        "--set",
        "augment.cutmix=0.5",
    ]
    done = run_cli("pretrain", *shared, "--out", tmp_path / "teacher")
    assert done.returncode == 0, done.stderr
    assert [line[:9] for line in done.stdout.splitlines()].count("epoch 1/1") == 1  # only rank 0 speaks
    teacher = ["--teacher", tmp_path / "teacher" / "best.safetensors", "--set", f"teacher_cache={tmp_path / 'cache'}"]
    rows = []
    for name in ("asked", "cached"):
        done = run_cli("pretrain", *shared, *teacher, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        with (tmp_path / name / "metrics.csv").open() as file:
            rows.append([{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)])
    assert rows[0] == rows[1]
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {
        "cache.json", "epoch0001-rank0of2.safetensors", "epoch0001-rank1of2.safetensors",
    }  # fmt: skip

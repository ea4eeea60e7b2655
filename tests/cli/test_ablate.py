"""``ghostyolo ablate``, as a user types it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import typer.main

from ghostyolo.cli import main
from ghostyolo.errors import ConfigError, MissingExtraError
from ghostyolo.extras import available
from tests.train import tiny
from tests.train.class_pictures import write_folders

SMALL = ["--base=recipe=cifar", "--base=epochs=1", "--base=batch=4", "--base=threads=1", "--base=device=cpu"]
GHOST = ["--model", "ghostnetv1:width=0.25"]


def test_a_grid_is_trained_compared_and_gone_on_with(type_cli, tmp_path) -> None:
    data, out = write_folders(tmp_path / "data", train=2, val=1), tmp_path / "out"
    command = ["ablate", "--data", data, *GHOST, *SMALL, "--vary", "lr=0.0001,0.1", "--out", out]
    done = type_cli(*command, "--seeds", 1)  # a process for each run; tests/ablate has more seeds
    assert done.returncode == 0, done.stderr
    table = json.loads((out / "ablation.json").read_text())
    assert [(run["cell"], run["seed"]) for run in table["runs"]] == [("base", 0), ("lr=0.0001", 0)]
    assert table["same"] == [{"model": GHOST[1], "cell": "lr=0.1", "same_as": "base"}]  # the recipe's own value
    assert table["machine"]["packages"]["torch"]
    base, cell = csv.DictReader((out / "ablation.csv").open())
    of_base, of_cell = (run["last"]["top1"] for run in table["runs"])
    assert float(cell["difference"]) == pytest.approx(100 * (of_cell - of_base))
    assert (base["shows"], base["seeds"]) == ("base", "1")
    assert "2 of 2 runs are finished" in (out / "ablation.md").read_text()
    assert (out / "ablation.png").stat().st_size > 5000
    recipe = out / "runs" / "ghostnetv1-width=0.25" / "base" / "seed0" / "log.txt"
    assert recipe.read_text().startswith("$ ghostyolo pretrain --data")

    weights = recipe.with_name("last.safetensors").stat().st_mtime_ns
    again = type_cli(*command, "--seeds", 1)
    assert again.returncode == 0, again.stderr
    assert "2 of 2 runs are finished already" in again.stdout
    assert recipe.with_name("last.safetensors").stat().st_mtime_ns == weights

    other = type_cli(*command, "--seeds", 1, "--base", "epochs=2")
    assert other.returncode == 2
    assert other.stderr.startswith("error: ")
    assert "was trained with another 'recipe.epochs' (1 there, 2 here)" in other.stderr
    assert json.loads((out / "ablation.json").read_text()) == table


def typed(*arguments: object) -> None:
    """Run the command in this process; our errors are raised."""
    main._register()
    typer.main.get_command(main.app).main([*map(str, arguments)], standalone_mode=False)


def test_a_dry_run_trains_nothing_and_errors_are_one_line(tmp_path, capsys) -> None:
    data, out = write_folders(tmp_path / "data", train=2, val=1), tmp_path / "out"
    grid = tmp_path / "grid.yaml"
    grid.write_text("models: ghostnetv1:width=0.25\nseeds: 1\ncells: {mix: {augment.mixup: 0.2}}\n")
    command = ["ablate", grid, "--data", data, *SMALL, "--out", out]
    typed(*command, "--dry-run")
    assert "to do     ghostnetv1:width=0.25, mix, seed 0" in capsys.readouterr().out
    assert not out.exists()
    for arguments, message in (
        (["--vary", "cutmx=1"], "unknown key 'cutmx': did you mean augment.cutmix?"),
        (["--vary", "lr=1", "--vary", "lr=2"], "--vary lr is there twice"),
        (["--seeds", "three"], "--seeds 'three': write how many"),
        (["--cross"], "--cross combines what is varied"),
        (["--epoch", "first"], "neither last nor best"),
    ):
        with pytest.raises(ConfigError) as caught:
            typed(*command, *arguments)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.slow
def test_stopped_at_once_and_gone_on_after_the_last_epoch(tmp_path, run_cli) -> None:
    data, out = write_folders(tmp_path / "data", train=8, val=1), tmp_path / "out"
    words = ["ablate", "--data", data, *GHOST, *SMALL, "--base", "epochs=10", "--vary", "augment.mixup=0.2"]
    words += ["--seeds", "1", "--out", out]
    process = subprocess.Popen([sys.executable, "-m", "ghostyolo.cli.main", *map(str, words)])
    first = out / "runs" / "ghostnetv1-width=0.25" / "base" / "seed0"
    deadline = time.monotonic() + 200
    while not (first / "resume.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    finished = len((first / "metrics.csv").read_text().splitlines()) - 1
    assert 1 <= finished < 10
    assert not (first.parent.parent / "augment.mixup=0.2").exists()
    done = run_cli(*words, timeout=900)
    assert done.returncode == 0, done.stderr
    log = (first / "log.txt").read_text()
    assert "--resume" in log
    assert log.count("epoch  1/10") == 1
    assert len((first / "metrics.csv").read_text().splitlines()) == 11


@pytest.mark.slow
def test_detectors_a_failure_and_a_teacher_that_cannot_be_had(run_cli, tmp_path) -> None:
    data = tiny.write_yolo(tiny.squares(tmp_path / "data", train=4, val=2))
    small = ["--base=epochs=1", "--base=imgsz=64", "--base=batch=2", "--base=threads=1", "--base=plots=false"]
    command = ["ablate", "--task", "detection", "--data", data, "--model", "yolov8p-ghostnetv3", *small]
    command += ["--base=branches=1", "--base=device=cpu", "--seeds", 1, "--out", tmp_path / "out"]
    # A learning rate that no float holds the results of: without warm-up the second step ends its run with an error.
    command += ["--base=warmup_epochs=0", "--base=nominal_batch=2"]
    done = run_cli(*command, "--vary", "pointwise_branch=false", "--vary", "lr=1e30")
    assert done.returncode == 2
    assert "1 of the runs failed" in done.stderr
    table = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert [run["cell"] for run in table["runs"]] == ["base", "pointwise_branch=False"]
    assert all(0 <= run["last"]["AP"] <= run["last"]["AP50"] <= 1 for run in table["runs"])
    assert list(table["failed"]) == ["yolov8p-ghostnetv3, lr=1e+30, seed 0"]


@pytest.mark.slow
@pytest.mark.skipif(not available("ray"), reason="Ray is not installed")
def test_ray_trains_the_same_grid(run_cli, tmp_path) -> None:
    data = write_folders(tmp_path / "data", train=2, val=1)
    command = ["ablate", "--data", data, *GHOST, *SMALL, "--seeds", 2, "--vary", "augment.mixup=0.2"]
    done = run_cli(*command, "--ray", "local", "--out", tmp_path / "ray")
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "ray" / "ablation.json").read_text())
    assert (len(table["runs"]), table["failed"]) == (4, {})


def test_ray_is_an_extra(tmp_path) -> None:
    if available("ray"):
        pytest.skip("Ray is installed")
    data = write_folders(tmp_path / "data", train=2, val=1)
    command = ["ablate", "--data", data, *GHOST, *SMALL, "--seeds", 1, "--vary", "augment.mixup=1"]
    command += ["--out", tmp_path / "out"]
    with pytest.raises(MissingExtraError, match=r"needs the .ray. extra"):
        typed(*command, "--ray", "local")

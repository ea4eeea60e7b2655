"""Runs in processes of their own: killed and resumed, and two that train together."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ghostyolo.models.weights import read_checkpoint
from tests.train.distil import networks

REPOSITORY = Path(__file__).resolve().parents[2]


def start(data: Path, out: Path, **options: object) -> subprocess.Popen[str]:
    pairs = [f"{key}={value}" for key, value in options.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.train.one_run", str(data), str(out), *pairs],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def rows(out: Path) -> list[dict[str, float]]:
    with (out / "metrics.csv").open() as file:
        return [
            {key: float(value) for key, value in row.items() if value and key != "seconds"}
            for row in csv.DictReader(file)
        ]


def wait_for(path: Path, lines: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and len(path.read_text().splitlines()) >= lines:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not grow to {lines} lines: {process.communicate(timeout=10)[0]}")


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_run_resumes_to_the_end_of_an_uninterrupted_one(tmp_path, sent) -> None:
    finish(start(tmp_path / "data", tmp_path / "straight"))
    process = start(tmp_path / "data", tmp_path / "cut", slow=0.4)
    wait_for(tmp_path / "cut" / "metrics.csv", 3, process)  # the header and two epochs
    time.sleep(0.6)
    process.send_signal(sent)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: -2, signal.SIGKILL: -9}[sent], said
    assert len(rows(tmp_path / "cut")) < 4
    finish(start(tmp_path / "data", tmp_path / "cut", resume=1))

    expected, actual = rows(tmp_path / "straight"), rows(tmp_path / "cut")
    assert len(actual) == len(expected) == 4
    for one, other in zip(expected, actual, strict=True):
        assert other == pytest.approx(one, rel=1e-6, abs=1e-6)
    for name in ("best.safetensors", "last.safetensors"):
        straight, _ = read_checkpoint(tmp_path / "straight" / name)
        resumed, _ = read_checkpoint(tmp_path / "cut" / name)
        for key in straight:
            torch.testing.assert_close(resumed[key], straight[key], rtol=1e-6, atol=1e-7)
    assert not [path for path in (tmp_path / "cut").iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_two_processes_share_the_pictures_and_end_with_the_same_weights(tmp_path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    said = finish(start(tmp_path / "data", tmp_path / "run", devices=2, epochs=2, log=log))
    assert [line[:9] for line in said.splitlines()] == ["epoch 1/2", "epoch 2/2"]  # only rank 0 speaks

    seen = [json.loads((log / f"seen{rank}.json").read_text()) for rank in range(2)]
    batches = len(seen[0]) // 2
    for epoch in range(2):
        shares = [{i for batch in part[epoch * batches : (epoch + 1) * batches] for i in batch} for part in seen]
        assert not shares[0] & shares[1]
        assert shares[0] | shares[1] == set(range(6))
    for name in ("weights", "average"):
        first, second = (torch.load(log / f"{name}{rank}.pt", weights_only=True) for rank in range(2))
        for key, tensor in first.items():
            if "running" not in key and "tracked" not in key:
                torch.testing.assert_close(second[key], tensor, rtol=0, atol=0, msg=key)
    assert len(rows(tmp_path / "run")) == 2


@pytest.mark.slow
def test_two_processes_with_a_teacher_end_with_the_same_weights_and_adapters(tmp_path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    teacher = networks.save(networks.network(backbone="test-wide", seed=1), tmp_path / "big.safetensors")
    said = finish(start(tmp_path / "data", tmp_path / "run", devices=2, epochs=2, log=log, teacher=teacher))
    assert said.count(" teaches ") == said.count(" of a step ") == 1  # only rank 0 speaks
    first, second = (torch.load(log / f"weights{rank}.pt", weights_only=True) for rank in range(2))
    assert {"adapters.8.weight", "adapters.32.weight"} < set(first)
    for key, tensor in first.items():
        if "running" not in key and "tracked" not in key:
            torch.testing.assert_close(second[key], tensor, rtol=0, atol=0, msg=key)
    assert all(row["train/kd_features"] > 0 for row in rows(tmp_path / "run"))


@pytest.mark.slow
def test_two_processes_resume_as_one_run(tmp_path) -> None:
    finish(start(tmp_path / "data", tmp_path / "straight", devices=2))
    process = start(tmp_path / "data", tmp_path / "cut", devices=2, slow=0.4)
    wait_for(tmp_path / "cut" / "metrics.csv", 2, process)
    process.terminate()
    process.communicate(timeout=60)
    finish(start(tmp_path / "data", tmp_path / "cut", devices=2, resume=1))
    expected, actual = rows(tmp_path / "straight"), rows(tmp_path / "cut")
    assert len(actual) == 4
    for one, other in zip(expected, actual, strict=True):
        assert other == pytest.approx(one, rel=1e-6, abs=1e-6)

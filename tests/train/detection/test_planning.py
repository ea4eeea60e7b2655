"""``train`` without settings: what is planned, written beside the run, and what cannot hold together."""

from __future__ import annotations

import io
from typing import Any

import pytest
import yaml
from rich.console import Console

from ghostyolo.errors import ConfigError
from ghostyolo.train.detection import planning
from ghostyolo.train.detection.start import train_detector
from ghostyolo.train.plan.machine import Machine
from ghostyolo.train.plan.rules import Pace
from tests.train import tiny

SHORT = {"epochs": 2, "plots": False, "tensorboard": False, "device": "cpu", "threads": 1}


@pytest.fixture
def data(tmp_path):
    return tiny.write_yolo(tiny.squares(tmp_path / "data", train=6, val=2))


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch):
    monkeypatch.setattr(planning, "look_at_machine", lambda recipe: Machine(cores=2, busy=0.0))


def train(data, out, resume: bool = False, **options: Any) -> str:
    page = io.StringIO()
    model = None if resume else tiny.CONFIG
    train_detector(data, model, out=out, options=options, resume=resume, console=Console(file=page, width=300))
    return page.getvalue()


def test_a_run_is_planned_printed_and_stored(data, tmp_path):
    page = train(data, tmp_path / "run", **SHORT)
    plan = yaml.safe_load((tmp_path / "run" / "plan.yaml").read_text())
    recipe = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["recipe"]
    assert plan["plan"]["epochs"] == {"value": 2, "why": "given"}
    assert plan["plan"]["imgsz"]["value"] == recipe["imgsz"] == 64
    assert plan["plan"]["augment.scale"]["value"] == recipe["augment"]["scale"] == 0.1
    assert (plan["data"]["pictures"], plan["machine"]["cores"]) == (6, 2)
    assert plan["schedule"]["total_steps"] == 2
    lines = page.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("plan "))
    assert lines[first + 1].split()[:2] == ["weights", "none"]
    assert next(line for line in lines if line.startswith("  imgsz ")).split()[1] == "64"
    assert lines.index(next(line for line in lines if line.startswith("epoch 1/2"))) > first


def test_a_resume_takes_the_plan_as_it_was(data, tmp_path):
    train(data, tmp_path / "run", **SHORT)
    stored = (tmp_path / "run" / "plan.yaml").read_text()
    (tmp_path / "run" / "resume.ckpt").unlink()  # as if it was cut in its first epoch
    page = train(data, tmp_path / "run", resume=True)
    assert "plan " not in page
    assert (tmp_path / "run" / "plan.yaml").read_text() == stored


def test_without_a_plan_the_defaults_hold(data, tmp_path):
    page = train(data, tmp_path / "run", plan=False, imgsz=64, batch=2, **SHORT)
    recipe = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["recipe"]
    assert (recipe["augment"]["scale"], recipe["channels_last"], recipe["val_every"]) == (0.5, False, 1)
    assert "plan " not in page
    assert not (tmp_path / "run" / "plan.yaml").exists()


def test_minutes_are_measured_once_and_stored(data, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(planning, "measure_pace", lambda *args, **rest: asked.append(args[3]) or Pace(6, 1.0, 0.001))
    limited = {key: value for key, value in SHORT.items() if key != "epochs"}
    page = train(data, tmp_path / "run", minutes=0.35, **limited)
    assert "3 " in next(line for line in page.splitlines() if line.startswith("  epochs"))
    assert asked[0].imgsz == 64  # measured as it will be trained
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["recipe"]["epochs"] == 3
    train(data, tmp_path / "run", resume=True, minutes=0.35)
    with pytest.raises(ConfigError, match="another 'minutes'"):
        train(data, tmp_path / "run", resume=True, minutes=1.0)
    assert len(asked) == 1


def test_minutes_hold_without_a_plan_too(data, tmp_path):
    limited = {key: value for key, value in SHORT.items() if key != "epochs"}
    page = train(data, tmp_path / "run", plan=False, imgsz=64, batch=2, minutes=0.001, **limited)
    assert next(line for line in page.splitlines() if line.startswith("  epochs")).split()[1] == "1"
    recipe = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["recipe"]
    assert (recipe["epochs"], recipe["imgsz"], recipe["augment"]["scale"]) == (1, 64, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minutes": 5, "epochs": 3}, "minutes and epochs are both given"),
        ({"minutes": 5, "qat": True, "weights": "bccd"}, "leave minutes out"),
        ({"minutes": 5, "devices": 2}, "minutes are measured on one device"),
        ({"minutes": -1}, "'minutes' is -1"),
        ({"sampling": {"repeat_threshold": 2.0}}, "repeat_threshold"),
        ({"sampling": {"repeats": 2.0}}, "unknown key 'sampling.repeats'"),
    ],
)
def test_what_cannot_hold_together_is_one_line_and_no_folder(data, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        train(data, tmp_path / "run", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_rare_classes_train_by_both_means(data, tmp_path):
    page = train(
        data, tmp_path / "run", imgsz=64, batch=2, sampling={"repeat_threshold": 1.0, "class_weights": 0.5}, **SHORT
    )
    assert "epoch 2/2" in page

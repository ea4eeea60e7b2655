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
    monkeypatch.setattr(planning, "look_at_machine", lambda recipe: Machine(cores=2, threads="1 thread"))


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
        ({"minutes": 5, "devices": 2}, "minutes measures on one device: give epochs"),
        ({"probe": True, "devices": 2}, "probe measures on one device: leave it out"),
        ({"target_ms": 9.0}, "leave one out"),
        ({"target_ms": 9.0, "plan": False}, "target_ms is a part of the plan"),
        ({"probe": True, "plan": False}, "probe is a part of the plan"),
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


def plan_of(out) -> dict[str, Any]:
    return yaml.safe_load((out / "plan.yaml").read_text())


def test_a_probe_trains_before_the_run_and_is_stored(data, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "LEAST_STEPS", 1)
    monkeypatch.setattr(planning, "first_round", lambda epochs, count: 1)
    monkeypatch.setattr(planning, "candidates", lambda plan, peak_lr: [("lr", 0.02), ("augment.scale", 0.5)])
    page = train(data, tmp_path / "run", probe=True, batch=2, **SHORT)
    lines = [line for line in page.splitlines() if line.startswith("probe: ")]
    # Two seeds of the plan and both candidates for an epoch, then two seeds and the better one for two.
    assert [line.split(", ")[1].split(":")[0] for line in lines] == ["1 epochs"] * 4 + ["2 epochs"] * 3
    plan = plan_of(tmp_path / "run")
    assert len(plan["probe"]["trials"]) == 7
    assert any(line.lstrip().startswith(("probe: nothing", "lr", "augment.scale")) for line in page.splitlines())
    assert plan["plan"]["epochs"]["value"] == 2  # given


def test_what_a_probe_finds_is_trained_with_in_the_time_that_is_left(data, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "LEAST_STEPS", 1)
    monkeypatch.setattr(planning, "measure_pace", lambda *args, **rest: Pace(6, 0.1, 0.0))

    def trained(plan, model, read, change, seed, epochs):
        return 0.5 if change.get("lr", 0) > 0.004 else 0.3

    class Reached(Exception):
        pass

    def reached(network, metadata, read, recipe, out, *, files, **rest):
        raise Reached(recipe, yaml.safe_load(files["plan.yaml"])["plan"])

    monkeypatch.setattr("ghostyolo.train.detection.start._short_training", trained)
    monkeypatch.setattr("ghostyolo.train.detection.start.fit", reached)
    with pytest.raises(Reached) as caught:
        train(data, tmp_path / "run", probe=True, minutes=0.605)
    recipe, plan = caught.value.args
    assert plan["epochs"]["value"] == recipe.epochs == round(0.75 * 60)
    assert plan["lr"]["value"] == pytest.approx(0.01)
    assert "AP 0.500, as planned 0.300" in plan["lr"]["why"]
    assert recipe.lr == plan["lr"]["value"]


def test_a_run_that_is_too_short_to_probe_says_so(data, tmp_path):
    page = train(data, tmp_path / "run", probe=True, **SHORT)
    assert "probe: left out, 25 % of the run are too short" in page


def fitted(monkeypatch, times: dict[str, float]) -> list[tuple[str, int]]:
    """Make measurements that take so long at 64 px; what was measured."""
    from ghostyolo.benchmark.budget import Budget
    from ghostyolo.benchmark.fit import FitResult
    from ghostyolo.train.plan import latency

    measured: list[tuple[str, int]] = []

    class Row:
        engine, threads = "onnxruntime", 2

        def __init__(self, model: str, imgsz: int) -> None:
            self.model, self.imgsz, self.total_ms = model, imgsz, times[model] * (imgsz / 256) ** 2

    def fit(candidates, settings, budget: Budget, builder, *, classes):
        measured.extend((one.model, one.imgsz) for one in candidates)
        rows = [Row(one.model, one.imgsz) for one in candidates]
        fast = [row for row in rows if row.total_ms <= budget.milliseconds]
        near = min(rows, key=lambda row: row.total_ms)
        chosen = max(fast, key=lambda row: row.total_ms) if fast else None
        return FitResult(budget, [], [], chosen, None if fast else near, "MACs", "", "")

    monkeypatch.setattr(latency, "fit", fit)
    return measured


TIMES = {"ghostyolo-p": 4.0, "ghostyolo-n": 8.0, "ghostyolo-s": 16.0, "ghostyolo-m": 30.0, "ghostyolo-l": 60.0}


def choose(data, target: float, **given: Any):
    from ghostyolo.data.formats import load_dataset
    from ghostyolo.train.recipe import TrainRecipe

    read = load_dataset(data)
    planner = planning.Planner(TrainRecipe.from_dict({"target_ms": target, **given}), read)
    planner.fingerprint = planner.fingerprint.model_copy(update={"long_side": 256.0, "small_box": 0.06})
    return planner.choose_network(None)


def test_the_largest_network_within_a_time_is_chosen(data, monkeypatch):
    measured = fitted(monkeypatch, TIMES)
    model, recipe = choose(data, 21.0)
    assert (model, recipe.imgsz) == ("ghostyolo-s", 288)
    assert measured == [(name, 288) for name in TIMES]


def test_smaller_pictures_are_taken_where_none_is_fast_enough(data, monkeypatch):
    fitted(monkeypatch, TIMES)
    assert (choose(data, 3.2)[0], choose(data, 3.2)[1].imgsz) == ("ghostyolo-p", 224)
    with pytest.raises(ConfigError, match=r"nothing takes at most 0\.1 ms .* nearest is ghostyolo-p at 160 px"):
        choose(data, 0.1)
    with pytest.raises(ConfigError, match="nearest is ghostyolo-p at 256 px"):
        choose(data, 3.2, imgsz=256)

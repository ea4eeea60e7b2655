"""Every way to start a training leads to the same run: command, Python, and a cell of ``ablate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ghostyolo.ablate.cells import make_plan
from ghostyolo.ablate.grid import Grid
from ghostyolo.ablate.train_cells import job_of
from ghostyolo.detector import Detector
from ghostyolo.errors import ConfigError
from ghostyolo.train.classification import start as pretraining
from ghostyolo.train.detection import planning
from ghostyolo.train.detection import start as training
from ghostyolo.train.plan.machine import Machine
from ghostyolo.train.recipe import ClassRecipe, Recipe, TrainRecipe
from tests.train import tiny
from tests.train.class_pictures import write_folders

FLAGS = ("epochs", "imgsz", "batch", "seed")
DETECTION = {
    "epochs": 2, "imgsz": 64, "batch": 2, "seed": 3, "lr": 1e-3, "augment.scale": 0.1, "precision": "bf16",
    "val_every": 2, "plots": False, "device": "cpu",
}  # fmt: skip
CLASSIFICATION = {
    "epochs": 2, "imgsz": 32, "batch": 4, "seed": 3, "lr": 1e-2, "augment.erase": 0.5, "output_stride": 16,
    "branches": 2, "pointwise_branch": False, "device": "cpu",
}  # fmt: skip


class Reached(Exception):
    """Ends a call where the loop would begin; holds what it was given."""


@pytest.fixture
def loop(monkeypatch):
    """What reaches the loop: network, recipe, and the checkpoint's metadata."""

    def stop(network: Any, metadata: Any, data: Any, recipe: Recipe, out: Any, **rest: Any) -> None:
        raise Reached(network.config, recipe, metadata.model_dump())

    monkeypatch.setattr(training, "fit", stop)
    monkeypatch.setattr(pretraining, "fit_classifier", stop)
    # How much memory is free changes from call to call.
    monkeypatch.setattr(
        planning, "look_at_machine", lambda recipe: Machine(cores=2, threads="2 threads", free_gib=4.0, gpu=None)
    )

    def call(door: Any, *arguments: Any, **options: Any) -> tuple[Any, ...]:
        with pytest.raises(Reached) as reached:
            door(*arguments, **options)
        return reached.value.args

    return call


def typed(*words: Any) -> None:
    """Run a command in this process."""
    import typer.main

    from ghostyolo.cli import main

    main._register()
    typer.main.get_command(main.app).main([*map(str, words)], standalone_mode=False)


def words_of(options: dict[str, Any]) -> list[str]:
    """Settings as a user types them: everyday ones as options, the others with --set."""
    words: list[str] = []
    for key, value in options.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words += [f"--{key}", text] if key in FLAGS else ["--set", f"{key}={text}"]
    return words


def cell_words(task: str, data: Path, model: str, options: dict[str, Any], out: Path) -> tuple[str, ...]:
    """The command by which ``ablate`` trains the base of a grid, with its recipe written."""
    base = {key: value for key, value in options.items() if key != "seed"}
    values = {"task": task, "data": str(data), "models": model, "base": base, "vary": {"ema_decay": [0.5]}}
    plan = make_plan(Grid.from_dict({**values, "seeds": [options.get("seed", 0)]}), out)
    job = job_of(plan, plan.runs[0])
    job.folder.mkdir(parents=True)
    recipe = {key: value for key, value in job.recipe.items() if value is not None}
    (job.folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return job.arguments


@pytest.mark.parametrize("options", [{}, DETECTION], ids=["defaults", "given"])
def test_every_door_to_training_leads_to_one_run(loop, tmp_path, options) -> None:
    data = tiny.write_yolo(tiny.squares(tmp_path / "data", train=2, val=2))
    model = tmp_path / "tiny.yaml"
    model.write_text(yaml.safe_dump(tiny.CONFIG.model_dump(mode="json", exclude={"name"})))
    expected = loop(training.train_detector, data, model, out=tmp_path / "run", options=options)
    assert expected[2]["resize"] == "area"
    if not options:  # planned, from data of 64 px
        assert (expected[1].plan, expected[1].imgsz) == (True, 64)
    python = {key: value for key, value in options.items() if "." not in key}
    if options:
        python["augment"] = {"scale": options["augment.scale"]}
    assert loop(Detector(model).train, data, out=tmp_path / "run", **python) == expected
    assert loop(typed, "train", "--data", data, "--model", model, *words_of(options)) == expected
    # A grid's cells are not planned: they are the same on every machine.
    fixed = loop(training.train_detector, data, model, out=tmp_path / "run", options={**options, "plan": False})
    if not options:
        assert fixed[1] == TrainRecipe.from_dict({"plan": False})
    assert loop(typed, *cell_words("detection", data, str(model), options, tmp_path / "grid")) == fixed


@pytest.mark.parametrize("options", [{}, CLASSIFICATION], ids=["defaults", "given"])
def test_every_door_to_pretraining_leads_to_one_run(loop, tmp_path, options) -> None:
    data, model = write_folders(tmp_path / "data", train=2, val=1), "ghostnetv3:width=0.25"
    expected = loop(pretraining.pretrain, data, model, out=tmp_path / "run", options=options)
    if not options:
        assert expected[1] == ClassRecipe.from_dict({})
    assert loop(typed, "pretrain", "--data", data, "--model", model, *words_of(options)) == expected
    assert loop(typed, *cell_words("classification", data, model, options, tmp_path / "grid")) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("epoch=3", "unknown key 'epoch': did you mean epochs"),
        ("mosaic=0", r"unknown key 'mosaic': did you mean augment\.mosaic"),
        ("augment.mozaic=0", r"unknown key 'augment\.mozaic': did you mean mosaic"),
        ("optimizer=adam", "'optimizer' is 'adam': input should be 'auto', 'sgd' or 'adamw'"),
        ("lr=fast", "'lr' is 'fast': input should be a valid number"),
        ("lr", "write KEY=VALUE"),
        ("epochs=3", "'epochs' is given twice"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path, word, message) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        typed("train", "--data", tmp_path, "--model", "yolov8n", "--epochs", 1, "--set", word)
    assert "\n" not in str(caught.value)


def test_numbers_that_are_names_are_taken_for_precision() -> None:
    assert TrainRecipe.from_dict({"precision": 16}).precision == "16"

"""What a training begins from: start weights where there are some, what is asked for else, and that it says so."""

from __future__ import annotations

import io

import pytest
import torch
import yaml
from rich.console import Console

from ghostyolo.data.records import DetectionData
from ghostyolo.errors import ConfigError
from ghostyolo.models.weights import read_checkpoint, save_checkpoint
from ghostyolo.runtime import weights as packaged
from ghostyolo.train import schedule
from ghostyolo.train.detection.start import prepare, train_detector
from tests.train import tiny

OPTIONS = {**tiny.RECIPE, "epochs": 1, "lr": 1e-9}  # nothing is learned, so that weights can be compared


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A start of the tiny network, as if it was inside the package."""
    model, metadata = tiny.model_and_metadata(seed=7)
    metadata = metadata.model_copy(update={"class_names": ["a:GREEN", "b:dog"]})
    path = tmp_path / "assets" / "start" / "tiny.safetensors"
    path.parent.mkdir(parents=True)
    save_checkpoint(model, metadata, path)
    monkeypatch.setattr(packaged, "assets_folder", lambda: tmp_path / "assets")
    return path


@pytest.fixture
def data(tmp_path):
    return tiny.write_yolo(tiny.squares(tmp_path / "data", train=4, val=2))


def run(data, out, model=tiny.CONFIG, **options):
    """Train one epoch; the weights and what was printed."""
    page = io.StringIO()
    resume = options.pop("resume", False)
    console = Console(file=page, width=200)
    result = train_detector(data, model, out=out, options={**OPTIONS, **options}, resume=resume, console=console)
    return read_checkpoint(result.last)[0], page.getvalue()


def is_start(tensors, start) -> bool:
    name = "backbone.fine.0.weight"
    return torch.allclose(tensors[name], read_checkpoint(start)[0][name], atol=1e-6)


def test_start_weights_are_taken_and_said(data, tmp_path, start):
    tensors, page = run(data, tmp_path / "run")
    assert is_start(tensors, start)
    (line,) = [line for line in page.splitlines() if line.startswith("starts from")]
    assert "start weights of tiny" in line
    assert "with the rows of green; --weights none starts from zero" in line
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["recipe"]["weights"] == "start"


def test_none_starts_from_zero_and_stays_so_on_resume(data, tmp_path, start):
    tensors, page = run(data, tmp_path / "run", weights="none")
    assert not is_start(tensors, start)
    assert "starts from" not in page
    (tmp_path / "run" / "resume.ckpt").unlink()  # as if it was cut in its first epoch
    again, _ = run(data, tmp_path / "run", model=None, resume=True)
    assert not is_start(again, start)


def test_a_resume_of_a_start_goes_on_with_it(data, tmp_path, start):
    run(data, tmp_path / "run")
    (tmp_path / "run" / "resume.ckpt").unlink()
    tensors, page = run(data, tmp_path / "run", model=None, resume=True)
    assert is_start(tensors, start)
    assert "starts from" not in page


def two_classes(tmp_path) -> DetectionData:
    return DetectionData(tmp_path, "yolo", ["a", "b"], {})


def test_a_network_without_a_start_is_refused_where_it_is_asked_for(tmp_path, start):
    other = tiny.CONFIG.model_copy(update={"name": "other"})
    assert prepare(other, tiny.recipe(), two_classes(tmp_path)).adopted is None
    with pytest.raises(ConfigError, match="'other' has no start weights; those with: tiny"):
        prepare(other, tiny.recipe(weights="start"), two_classes(tmp_path))
    with pytest.raises(ConfigError, match="start weights of which network"):
        prepare(None, tiny.recipe(weights="start"), two_classes(tmp_path))


def test_a_network_without_a_start_says_so(data, tmp_path, start):
    start.unlink()
    _, page = run(data, tmp_path / "run")
    assert "'tiny' has no start weights: it starts from zero" in page


def test_grey_pictures_start_too(tmp_path, start):
    prepared = prepare(tiny.CONFIG, tiny.recipe(weights="start", channels=1), two_classes(tmp_path))
    assert prepared.adopted.colours


def test_weights_of_other_classes_learn_at_the_rate_of_random_ones(data, tmp_path, start, monkeypatch):
    asked = []
    plan = schedule.plan_schedule
    monkeypatch.setattr(
        "ghostyolo.train.detection.fit.plan_schedule",
        lambda *args, **options: asked.append(options["from_scratch"]) or plan(*args, **options),
    )
    run(data, tmp_path / "other")
    run(data, tmp_path / "same", weights=tmp_path / "other" / "last.safetensors")
    assert asked == [True, True, False, False]  # for the plan that is shown, and for the run

"""Fine-tuning for INT8: folded weights are trained with rounding, and saved as plain float ones."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from ghostyolo.data.formats import load_dataset
from ghostyolo.errors import ConfigError
from ghostyolo.models.weights import load_checkpoint, save_checkpoint
from ghostyolo.nn.reparam import is_folded
from ghostyolo.train.detection.qat import begin_rounding, check_classes, read_trained, with_qat_defaults
from ghostyolo.train.detection.start import train_detector
from ghostyolo.train.recipe import TrainRecipe
from tests.train import tiny

OPTIONS = {"qat": True, "epochs": 1, "batch": 2, "device": "cpu", "plots": False, "tensorboard": False}


@pytest.fixture
def trained(tmp_path):
    """A checkpoint of the tiny network and a data set for it."""
    model, metadata = tiny.model_and_metadata()
    save_checkpoint(model, metadata, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors", tiny.write_yolo(tiny.squares(tmp_path / "data"))


def test_a_run_saves_folded_float_weights_that_load_as_any_others(trained, tmp_path):
    weights, data = trained
    result = train_detector(data, out=tmp_path / "run", options={**OPTIONS, "weights": weights})
    model, metadata = load_checkpoint(result.best)
    assert metadata.deployed
    assert metadata.imgsz == 64, "the checkpoint's size is the default"
    assert is_folded(model)
    assert {type(module) for module in model.modules() if isinstance(module, torch.nn.Conv2d)} == {torch.nn.Conv2d}
    before, _ = read_trained(TrainRecipe.from_dict({"weights": weights}), None)
    assert list(before.state_dict()) == list(model.state_dict())
    moved = [not torch.equal(old, new) for old, new in zip(before.parameters(), model.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2  # a level without objects teaches its box branch nothing


def test_an_interrupted_run_goes_on(trained, tmp_path):
    weights, data = trained
    train_detector(data, out=tmp_path / "run", options={**OPTIONS, "weights": weights})
    result = train_detector(None, out=tmp_path / "run", resume=True)
    assert len(result.rows) == 1


def test_a_network_with_an_end_to_end_head_trains_its_deployed_branch(tmp_path):
    from ghostyolo.models.config import DetectorConfig
    from ghostyolo.models.detector import build_model

    config = DetectorConfig.from_dict(
        {"name": "t", "backbone": "test-convs", "neck": "test-none", "head": {"type": "end2end", "bins": 4}}, "tests"
    )
    _, metadata = tiny.model_and_metadata()
    save_checkpoint(build_model(config, num_classes=2), metadata, tmp_path / "w.safetensors")
    data = tiny.write_yolo(tiny.squares(tmp_path / "data"))
    result = train_detector(data, out=tmp_path / "run", options={**OPTIONS, "weights": tmp_path / "w.safetensors"})
    assert {"train/box", "train/cls", "train/dfl"} <= set(result.rows[0])
    model, metadata = load_checkpoint(result.best)
    assert not metadata.nms
    assert not model.needs_nms


def test_training_lowers_the_error_that_rounding_makes(trained):
    """Towards the float network's own answers: what fine-tuning can do to rounding, without labels."""
    weights, data = trained
    network, _ = read_trained(TrainRecipe.from_dict({"weights": weights}), None)
    with torch.no_grad():  # one weight of each channel is so large that the others are rounded to a few steps
        network.backbone.fine[0].weight[:, 0, 0, 0] = 3.0
    teacher = copy.deepcopy(network)
    begin_rounding(network, load_dataset(data), TrainRecipe.from_dict({"imgsz": 64}))
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = teacher.features(images)[0].detach()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def error():
        return (network.features(images)[0] - expected).square().mean()

    first = error().item()
    assert first > 0
    for _ in range(30):
        optimizer.zero_grad()
        loss = error()
        loss.backward()
        optimizer.step()
    assert error().item() < 0.8 * first


def test_defaults_are_those_of_a_short_run_and_what_is_given_comes_first():
    recipe = TrainRecipe.from_dict(with_qat_defaults({"qat": True, "lr": 1e-3, "batch": 8}))
    assert (recipe.epochs, recipe.lr, recipe.optimizer, recipe.nominal_batch) == (3, 1e-3, "adamw", 8)
    assert recipe.close_mosaic == recipe.epochs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "qat fine-tunes trained weights for INT8: give --weights W"),
        ({"model": "yolov8n"}, "leave model out"),
        ({"branches": 2}, "leave branches out"),
        ({"backbone_weights": "timm/x"}, "leave backbone_weights out"),
    ],
)
def test_what_makes_no_sense_with_it_is_refused(trained, tmp_path, changes, message):
    weights, data = trained
    options = {**OPTIONS, "weights": weights, **changes}
    model = options.pop("model", None)
    with pytest.raises(ConfigError, match=message):
        train_detector(data, model, out=tmp_path / "run", options=options)
    assert not (tmp_path / "run").exists()


def test_other_classes_are_refused(trained, tmp_path):
    weights, data = trained
    _, metadata = read_trained(TrainRecipe.from_dict({"weights": weights}), None)
    with pytest.raises(ConfigError, match="train on that data first"):
        check_classes(metadata, dataclasses.replace(load_dataset(data), class_names=["red", "blue"]))

"""Anchors of a fresh detector follow the data, and stay with the checkpoint."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from ghostyolo.data.fit_anchors import anchor_recall, box_sizes
from ghostyolo.data.records import DetectionData
from ghostyolo.losses.anchor import AnchorCriterion
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.default_anchors import default_anchors
from ghostyolo.models.detector import DetectionModel, build_model
from ghostyolo.models.weights import load_checkpoint
from ghostyolo.train.detection.adapt_anchors import adapt_anchors
from ghostyolo.train.detection.start import train_detector
from tests.train import tiny

pytest.importorskip("sklearn", reason="fitting needs scikit-learn, of the scenes extra")

DEFAULT = default_anchors((8, 16, 32))
DECLARATION = {"name": "tiny", "backbone": "test-convs", "neck": "test-none", "head": "anchor"}


def detector(**head) -> DetectionModel:
    torch.manual_seed(0)
    config = DetectorConfig.from_dict({**DECLARATION, "head": {"type": "anchor", **head}}, "tests")
    return build_model(config, num_classes=2)


def slivers(tmp_path, count: int = 12, val: int = 2) -> DetectionData:
    """Boxes of 3 x 1 to 5 x 2 pixels in pictures of 64 x 48: too flat for any default anchor."""
    data = tiny.squares(tmp_path / "data", train=count, val=val)
    generator = np.random.default_rng(0)

    def flat(record):
        corner = generator.uniform(0, 40, 2)
        side = generator.uniform((3, 1), (5, 2))
        return dataclasses.replace(record, boxes_xyxy=np.array([[*corner, *(corner + side)]], np.float32))

    splits = {split: [flat(record) for record in records] for split, records in data.splits.items()}
    return dataclasses.replace(data, splits=splits)


def adapt(network: DetectionModel, data: DetectionData) -> str:
    console = Console(file=io.StringIO(), width=200)
    adapt_anchors(network, data, 64, seed=0, console=console)
    return console.file.getvalue()


def test_default_anchors_that_miss_are_replaced_and_it_is_said(tmp_path):
    data, network = slivers(tmp_path), detector()
    said = adapt(network, data)
    sizes = box_sizes(data.splits["train"], 64)
    anchors = network.config.head.params["anchors"]
    torch.testing.assert_close(network.head.anchors, torch.tensor(anchors))
    before, after = anchor_recall(sizes, DEFAULT), anchor_recall(sizes, anchors)
    assert before < 0.5
    assert after == 1
    assert said == (
        f"anchors: recall {before:.3f} with the default ones, 1.000 with those of the data, which are taken\n"
    )
    again = detector()
    adapt(again, data)
    assert again.config == network.config


def test_default_anchors_that_do_are_kept_without_a_word(tmp_path):
    network = detector()
    config = network.config
    assert adapt(network, tiny.squares(tmp_path, train=12)) == ""  # 28 x 24 pixels
    assert network.config == config
    assert network.head.anchors.tolist() == DEFAULT


def test_declared_anchors_and_other_heads_are_left_alone(tmp_path):
    declared = detector(anchors=DEFAULT)
    config = declared.config
    assert adapt(declared, slivers(tmp_path)) == ""
    assert declared.config == config
    other, _ = tiny.model_and_metadata()
    assert adapt(other, slivers(tmp_path)) == ""


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (0, "the default ones are kept, the training split has no boxes to fit them to"),
        (8, "the default ones are kept (recall 0.000), 8 training boxes are too few for 9 anchors"),
    ],
)
def test_too_few_boxes_keep_the_default_anchors_and_it_is_said(tmp_path, count, line):
    network = detector()
    data = slivers(tmp_path, count=count) if count else tiny.squares(tmp_path, empty=True)
    data.splits["train"] = [
        dataclasses.replace(r, boxes_xyxy=r.boxes_xyxy * [1, 0.5, 1, 0.5]) for r in data.splits["train"]
    ]
    assert adapt(network, data) == f"anchors: {line}\n"
    assert network.head.anchors.tolist() == DEFAULT
    assert "anchors" not in network.config.head.params


@pytest.fixture
def folder(tmp_path):
    return tiny.write_yolo(slivers(tmp_path))


def run(folder, out, **changes):
    options = {**tiny.RECIPE, "epochs": 2, **changes.pop("options", {})}
    console = Console(file=io.StringIO(), width=200)
    model = changes.pop("model", DetectorConfig.from_dict(DECLARATION, "tests"))
    result = train_detector(folder, model, out=out, options=options, console=console, **changes)
    return result, console.file.getvalue()


def test_checkpoint_and_resumed_run_have_the_anchors_of_the_data(folder, tmp_path, monkeypatch):
    calls = []
    original = AnchorCriterion.forward

    def interrupted(self, output, targets):
        calls.append(output.anchors.tolist())
        if len(calls) == 8:  # in the second epoch: six batches each
            raise KeyboardInterrupt
        return original(self, output, targets)

    monkeypatch.setattr(AnchorCriterion, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "run")
    stored = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["run"]["network"]["head"]["params"]
    assert stored["anchors"] != DEFAULT
    torch.testing.assert_close(torch.tensor(calls[-1]), torch.tensor(stored["anchors"]))

    # The model by its name, whose anchors are the default ones, or not at all: the run's own are taken.
    result, said = run(folder, tmp_path / "run", resume=True)
    assert "anchors" not in said
    assert len(result.rows) == 2
    for path in (result.best, result.last):
        model, metadata = load_checkpoint(path)
        assert metadata.config["head"]["params"]["anchors"] == stored["anchors"]
        torch.testing.assert_close(model.head.anchors, torch.tensor(stored["anchors"]))
    assert calls[-1] == calls[0]

    # Fine-tuning keeps what the checkpoint declares.
    tuned, said = run(folder, tmp_path / "tuned", model=None, options={"epochs": 1, "weights": result.last})
    assert "anchors" not in said
    assert load_checkpoint(tuned.last)[1].config["head"]["params"]["anchors"] == stored["anchors"]


def test_a_run_says_its_anchors_once(folder, tmp_path):
    _, said = run(folder, tmp_path / "run", options={"epochs": 1})
    assert said.count("anchors: recall") == 1

"""Every head trains through the whole house: recipe, criterion, validation, checkpoint, resume."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.losses.yolox import YoloXCriterion
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.weights import load_checkpoint, read_checkpoint
from ghostyolo.train.detection.fit import fit
from ghostyolo.train.detection.start import train_detector
from tests.train import tiny

HEADS = {
    "dfl": {"type": "dfl", "bins": 4, "cls_depthwise": False},
    "end2end": {"type": "end2end", "bins": 4},
    "yolox": {"type": "yolox", "width": 0.0625},
}
PARTS = {
    "dfl": {"box", "cls", "dfl"},
    "end2end": {"many_box", "many_cls", "many_dfl", "one_box", "one_cls", "one_dfl"},
    "yolox": {"iou", "obj", "cls", "l1"},
}


def config(head: str) -> DetectorConfig:
    return DetectorConfig.from_dict(
        {"name": "tiny", "backbone": "test-convs", "neck": "test-none", "head": HEADS[head]}, "test"
    )


@pytest.mark.parametrize("head", HEADS)
def test_a_run_writes_weights_that_know_their_head(tmp_path, head):
    root = tiny.write_yolo(tiny.squares(tmp_path / "data"))
    result = train_detector(root, config(head), out=tmp_path / "run", options={**tiny.RECIPE, "epochs": 2})
    assert {name.removeprefix("train/") for name in result.rows[-1] if name.startswith("train/")} == {
        "loss", *PARTS[head]
    }  # fmt: skip
    model, metadata = load_checkpoint(result.best)
    assert metadata.nms is (head != "end2end")
    assert model.config.head == config(head).head
    if head == "yolox":  # close_mosaic is 1
        assert [row["train/l1"] > 0 for row in result.rows] == [False, True]


def test_a_resumed_run_knows_how_far_it_is(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(YoloXCriterion, "begin_epoch", lambda self, *numbers: begun.append(numbers))
    data, recipe = tiny.squares(tmp_path / "data"), tiny.recipe(epochs=3)

    def run(**options):
        torch.manual_seed(0)
        metadata = tiny.model_and_metadata()[1]
        model = tiny.build_model(config("yolox"), num_classes=2)
        return fit(model, metadata, data, recipe, tmp_path / "run", **options)

    stop = RuntimeError("killed")

    def killed(self, epoch, epochs, close_mosaic):
        begun.append((epoch, epochs, close_mosaic))
        if epoch == 1:
            raise stop

    with monkeypatch.context() as patch:
        patch.setattr(YoloXCriterion, "begin_epoch", killed)
        with pytest.raises(RuntimeError, match="killed"):
            run()
    run(resume=True)
    assert begun == [(0, 3, 1), (1, 3, 1), (1, 3, 1), (2, 3, 1)]
    assert read_checkpoint(tmp_path / "run" / "last.safetensors")[1].nms

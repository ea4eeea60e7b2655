"""The end-to-end head: two branches in training, one on the device, and files that say that no NMS is needed."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.metadata import ModelMetadata
from ghostyolo.models import build_model
from ghostyolo.models.count import count_parameters
from ghostyolo.models.heads.dfl import DflHead
from ghostyolo.models.heads.end2end import EndToEndHead
from ghostyolo.models.weights import load_checkpoint, save_checkpoint
from ghostyolo.nn.reparam import fold
from tests.models.test_ghostnet import scramble_norms

OPTIONS = {"in_channels": (8, 16), "strides": (8, 16), "num_classes": 3, "bins": 4}


def features() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.rand(2, channels, side, side, generator=generator).requires_grad_()
        for channels, side in ((8, 4), (16, 2))
    ]


def head(**options) -> EndToEndHead:
    torch.manual_seed(0)
    return EndToEndHead(DflHead, **OPTIONS, **options)


def test_only_the_one_to_many_branch_teaches_the_layers_before_the_head():
    ours = head()
    for branch, reaches in (("one_to_one", False), ("one_to_many", True)):
        maps = features()
        output = getattr(ours(maps), branch)
        (output.box_logits.sum() + output.cls_logits.sum()).backward()
        assert [feature.grad is not None for feature in maps] == [reaches, reaches]
    assert all(parameter.grad is not None for parameter in ours.parameters())


def test_evaluation_is_the_one_to_one_branch():
    ours = head().eval()
    boxes, scores = ours(features())
    expected_boxes, expected_scores = ours.one_to_one(features())
    assert torch.equal(boxes, expected_boxes)
    assert torch.equal(scores, expected_scores)
    assert not torch.equal(scores, ours.one_to_many(features())[1])


@pytest.mark.parametrize("cls_depthwise", [True, False])
def test_folded_it_is_one_distribution_head(cls_depthwise):
    ours = head(cls_depthwise=cls_depthwise)
    single = fold(DflHead(**OPTIONS, cls_depthwise=cls_depthwise))
    scramble_norms(ours)
    folded = fold(ours.double())
    assert isinstance(folded, DflHead)
    assert not folded.needs_nms
    assert count_parameters(folded) == count_parameters(single)
    assert set(folded.state_dict()) == set(single.state_dict())
    maps = [feature.double() for feature in features()]
    for plain, trained in zip(folded(maps), ours.eval()(maps), strict=True):
        torch.testing.assert_close(plain, trained, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fold(folded)(maps)[1], folded(maps)[1])


@pytest.mark.parametrize(("name", "nms"), [("yolov8p", True), ("yolov8p-e2e", False), ("yolox-nano", True)])
@pytest.mark.parametrize("deployed", [False, True])
def test_checkpoints_say_whether_nms_is_needed(tmp_path, name, nms, deployed):
    model = build_model(name, num_classes=2).eval()
    network = fold(model) if deployed else model
    metadata = ModelMetadata(model=name, class_names=["a", "b"], imgsz=64, deployed=deployed)
    save_checkpoint(network, metadata, tmp_path / "m.safetensors")
    read, header = load_checkpoint(tmp_path / "m.safetensors")
    assert header.nms is nms
    assert read.needs_nms is nms
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(read(images)[1], network(images)[1])

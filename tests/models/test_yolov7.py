"""YOLOv7-tiny is the published network; its parts go with others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ghostyolo.models import build_model
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.nn.reparam import fold, is_folded
from tests.nn.reparam.test_container import randomise

# name: published parameters (M) and FLOPs (G) as printed, ours counted (convolutions alone).
FIGURES = {"yolov7-tiny": (6.2, 13.8, 6.227, 13.701), "yolov7s": (6.2, 13.8, 6.227, 13.701)}


@pytest.mark.parametrize("name", FIGURES)
def test_parameters_and_flops_are_the_published_ones(name):
    with torch.device("meta"):
        model = build_model(name, num_classes=80)
    parameters, flops = count_parameters(model) / 1e6, 2 * count_macs(model, 640) / 1e9
    published_parameters, published_flops, counted_parameters, counted_flops = FIGURES[name]
    assert parameters == pytest.approx(published_parameters, rel=0.01)
    assert flops == pytest.approx(published_flops, rel=0.01)
    assert (parameters, flops) == pytest.approx((counted_parameters, counted_flops), abs=0.001)


def test_activations_are_leaky_and_its_head_assigns_by_ota():
    with torch.device("meta"):
        model = build_model("yolov7-tiny", num_classes=2)
    leaky = [module for module in model.modules() if isinstance(module, nn.LeakyReLU)]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(leaky) == len(norms)
    assert {module.negative_slope for module in leaky} == {0.1}
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}
    assert model.head.assign == "ota"


def test_levels_have_their_strides_and_channels():
    with torch.device("meta"):
        model = build_model("yolov7-tiny", num_classes=2)
        features = model.backbone(torch.empty(2, 3, 64, 96))
        levels = model.neck(features)
    shapes = [(2, 128, 8, 12), (2, 256, 4, 6), (2, 512, 2, 3)]
    assert [tuple(level.shape) for level in features] == shapes
    assert [tuple(level.shape) for level in levels] == shapes


@pytest.mark.parametrize(
    "parts",
    [
        ("yolov7", "hyperace_fullpad", "dfl"),
        ("yolov7", "yolov5_pafpn", "anchor"),
        ("yolov5", "yolov7_elan", "dfl"),
        ("ghostnetv1", "yolov7_elan", "anchor"),
    ],
    ids="+".join,
)
def test_its_parts_go_with_others(parts):
    with torch.device("meta"):
        model = build_model("+".join(parts), num_classes=4).eval()
    boxes, scores = model(torch.empty(1, 3, 64, 96, device="meta"))
    anchors = (8 * 12 + 4 * 6 + 2 * 3) * (3 if parts[2] == "anchor" else 1)
    assert (boxes.shape, scores.shape) == ((1, anchors, 4), (1, anchors, 4))


def test_the_whole_detector_folds_exactly():
    torch.manual_seed(0)
    model = randomise(build_model("yolov7p", num_classes=2))
    folded = fold(model)
    assert is_folded(folded)
    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        for ours, expected in zip(folded(image), model(image), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)

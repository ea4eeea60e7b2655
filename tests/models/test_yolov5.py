"""YOLOv5 is the published network; its parts go with others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ghostyolo.models import build_model
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.nn.csp import PoolPyramid
from ghostyolo.nn.reparam import fold, is_folded
from tests.nn.reparam.test_container import randomise

# Of the published models (release 6): parameters to the last one, FLOPs at 640 as printed.
PUBLISHED = {
    "n": (1_872_157, 4.5),
    "s": (7_235_389, 16.5),
    "m": (21_190_557, 49.0),
    "l": (46_563_709, 109.1),
    "x": (86_749_405, 205.7),
}
# Ours: convolutions alone, where the published count has batch norms, pools and upsampling as well.
COUNTED_FLOPS = {"n": 4.468, "s": 16.434, "m": 48.872, "l": 108.994, "x": 205.448}


@pytest.mark.parametrize("scale", PUBLISHED)
def test_parameters_and_flops_are_the_published_ones(scale):
    with torch.device("meta"):
        model = build_model(f"yolov5{scale}", num_classes=80)
    parameters, flops = PUBLISHED[scale]
    counted = 2 * count_macs(model, 640) / 1e9
    assert count_parameters(model) == parameters
    assert counted == pytest.approx(COUNTED_FLOPS[scale], abs=0.001)
    assert counted == pytest.approx(flops, rel=0.01)


def test_every_level_sees_the_whole_picture_and_its_own_stride():
    torch.manual_seed(0)
    model = build_model("yolov5p", num_classes=2).eval()
    images = torch.rand(2, 3, 64, 96, requires_grad=True)
    levels = model.neck(model.backbone(images))
    assert [tuple(level.shape) for level in levels] == [(2, 32, 8, 12), (2, 64, 4, 6), (2, 128, 2, 3)]
    for level in levels:
        (gradient,) = torch.autograd.grad(level[0, :, 0, 0].sum(), images, retain_graph=True)
        assert gradient[0].abs().sum((0, 1)).count_nonzero() == 96
        assert gradient[1].abs().sum() == 0


def test_bottlenecks_have_shortcuts_in_the_backbone_only():
    model = build_model("yolov5p", num_classes=1)
    for part, expected in ((model.backbone, True), (model.neck, False)):
        shortcuts = {module.add for module in part.modules() if hasattr(module, "add")}
        assert shortcuts == {expected}


def test_pool_pyramid_is_the_maximum_over_5_9_and_13_cells():
    x = torch.randn(2, 3, 20, 17, generator=torch.Generator().manual_seed(0))
    expected = [x, *(nn.functional.max_pool2d(x, size, 1, size // 2) for size in (5, 9, 13))]
    assert torch.equal(PoolPyramid()(x), torch.cat(expected, 1))


@pytest.mark.parametrize(
    "parts",
    [
        ("yolov5", "hyperace_fullpad", "dfl"),
        ("ghostnetv1", "yolov5_pafpn", "dfl"),
        ("yolov13", "yolov5_pafpn", "anchor"),
    ],
    ids="+".join,
)
def test_its_parts_go_with_others(parts):
    with torch.device("meta"):
        model = build_model("+".join(parts), num_classes=4).eval()
    boxes, scores = model(torch.empty(1, 3, 64, 96, device="meta"))
    cells = 8 * 12 + 4 * 6 + 2 * 3
    anchors = cells * (3 if parts[2] == "anchor" else 1)
    assert (boxes.shape, scores.shape) == ((1, anchors, 4), (1, anchors, 4))


def test_only_levels_that_differ_are_fitted():
    parts = {"backbone": {"type": "yolov5", "width": 0.25}, "head": "anchor"}
    same = DetectorConfig.from_dict({**parts, "neck": {"type": "yolov5_pafpn", "width": 0.25}}, "test")
    other = DetectorConfig.from_dict({**parts, "neck": {"type": "yolov5_pafpn", "width": 0.125}}, "test")
    with torch.device("meta"):
        assert all(isinstance(fit, nn.Identity) for fit in build_model(same, num_classes=1).neck.fit)
        assert not any(isinstance(fit, nn.Identity) for fit in build_model(other, num_classes=1).neck.fit)


def test_the_whole_detector_folds_exactly():
    torch.manual_seed(0)
    model = randomise(build_model("yolov5p", num_classes=2))
    folded = fold(model)
    assert is_folded(folded)
    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        for ours, expected in zip(folded(image), model(image), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)

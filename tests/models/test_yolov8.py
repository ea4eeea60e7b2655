"""YOLOv8 is the published network by its parameters and FLOPs; its parts go with those of other families."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ghostyolo.models import build_model
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.scales import LETTERS
from ghostyolo.nn.reparam import fold, is_folded
from tests.models.test_ghostnet import scramble_norms

# The published counts include 16 constants of the DFL layer, which is no layer here.
DFL_CONSTANTS = 16
PUBLISHED = {  # parameters, FLOPs (G) at 640 of the folded network
    "yolov8n": (3_157_200, 8.7),
    "yolov8s": (11_166_560, 28.6),
    "yolov8m": (25_902_640, 78.9),
    "yolov8l": (43_691_520, 165.2),
    "yolov8x": (68_229_648, 257.8),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameters_and_flops(name):
    with torch.device("meta"):
        model = build_model(name, num_classes=80)
    parameters, flops_g = PUBLISHED[name]
    assert count_parameters(model) + DFL_CONSTANTS == parameters
    assert 2 * count_macs(fold(model), 640) / 1e9 == pytest.approx(flops_g, abs=0.06)


def parts(backbone: str, neck: str, head: str, scale: str = "n") -> DetectionModel:
    config = {"backbone": backbone, "neck": neck, "head": head, "scale": scale}
    with torch.device("meta"):
        return build_model(DetectorConfig.from_dict(config, "test"), num_classes=7)


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("family", ["yolov8", "yolox"])
def test_a_neck_fits_no_level_of_its_own_backbone(family, letter):
    model = parts(family, f"{family}_pafpn", "dfl", letter)
    assert all(isinstance(fit, nn.Identity) for fit in model.neck.fit)
    assert model.neck.channels == model.backbone.channels


def test_a_neck_fits_only_the_levels_that_differ():
    # YOLOv13's P3 is twice as wide as YOLOv8's, P4 and P5 are alike.
    fits = parts("yolov13", "yolov8_pafpn", "dfl").neck.fit
    assert [isinstance(fit, nn.Identity) for fit in fits] == [False, True, True]


@pytest.mark.parametrize("neck", ["hyperace_fullpad", "yolov8_pafpn", "yolox_pafpn"])
@pytest.mark.parametrize("backbone", ["ghostnetv3", "yolov13", "yolov8", "yolox"])
def test_any_backbone_goes_with_any_neck(backbone, neck):
    model = parts(backbone, neck, "dfl").eval()
    boxes, scores = model(torch.empty(2, 3, 64, 96, device="meta"))
    assert (boxes.shape, scores.shape) == ((2, 126, 4), (2, 126, 7))


@pytest.mark.parametrize("neck", ["hyperace_fullpad", "yolov8_pafpn", "yolox_pafpn"])
@pytest.mark.parametrize("head", ["dfl", "end2end", "yolox"])
def test_any_neck_goes_with_any_head(neck, head):
    model = parts("yolov8", neck, head).eval()
    for network in (model, fold(model)):
        boxes, scores = network(torch.empty(2, 3, 64, 96, device="meta"))
        assert (boxes.shape, scores.shape) == ((2, 126, 4), (2, 126, 7))


@pytest.mark.parametrize(
    ("family", "head", "depthwise"),
    [
        ("yolov8", {"type": "dfl", "cls_depthwise": False}, {}),
        ("yolov8", {"type": "end2end"}, {}),
        ("yolox", {"type": "yolox", "width": 0.125}, {}),
        ("yolox", {"type": "yolox", "width": 0.125, "depthwise": True}, {"depthwise": True}),
    ],
    ids=["yolov8", "end2end", "yolox", "yolox-nano"],
)
def test_folding_is_exact(family, head, depthwise):
    torch.manual_seed(0)
    size = {"depth": 0.67, "width": 0.125, **depthwise}
    config = DetectorConfig.from_dict(
        {"backbone": {"type": family, **size}, "neck": {"type": f"{family}_pafpn", **size}, "head": head}, "test"
    )
    model = build_model(config, num_classes=3).double().eval()
    scramble_norms(model)
    images = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    folded = fold(model)
    assert is_folded(folded)
    with torch.no_grad():
        for plain, trained in zip(folded(images), model(images), strict=True):
            assert plain.dtype == torch.float64
            torch.testing.assert_close(plain, trained, rtol=1e-9, atol=1e-9 * float(trained.abs().max()))


def test_a_number_between_the_letters_lies_between_them():
    counts = [count_parameters(parts("yolov8", "yolov8_pafpn", "dfl", scale)) for scale in ("n", 1.5, "s")]
    assert counts == sorted(counts)
    assert len(set(counts)) == 3

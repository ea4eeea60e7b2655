"""With their own backbones, the networks have the published parameters and FLOPs; docs/published.md shows both.

Publishers count FLOPs in ways of their own, so each is counted here as its publisher does. All count convolutions and
linear layers twice (multiply, add) and no product of attention.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from ghostyolo.models import build_model
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.nn.reparam import fold

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "published.md"
DFL_CONSTANTS = 16  # a fixed layer of YOLOv8 and YOLOv13 that counts as parameters there and is no layer here


@dataclass(frozen=True)
class Published:
    """Figures of a model: millions of parameters, GFLOPs at a side in pixels, and how they were counted.

    Attributes:
        folded: batch norms were folded; otherwise each number that one writes counts as two multiply-adds.
        counted_at: FLOPs were counted at this side and scaled by the area, which also multiplies what does not
            depend on it.
    """

    params_m: float
    flops_g: float
    imgsz: int = 640
    folded: bool = False
    counted_at: int = 0
    constants: int = 0


PUBLISHED = {
    "yolov5n": Published(1.87, 4.5),
    "yolov5s": Published(7.23, 16.5),
    "yolov7-tiny": Published(6.2, 13.8),
    "yolov8n": Published(3.16, 8.7, folded=True, constants=DFL_CONSTANTS),
    "yolov8s": Published(11.2, 28.6, folded=True, constants=DFL_CONSTANTS),
    "yolox-nano": Published(0.91, 1.08, 416),
    "yolox-tiny": Published(5.06, 6.45, 416),
    "yolox-s": Published(9.0, 26.8),
    "yolov13n": Published(2.49, 6.4, counted_at=32, constants=DFL_CONSTANTS),
    "yolov13s": Published(9.06, 20.8, counted_at=32, constants=DFL_CONSTANTS),
    "yolov13l": Published(27.6, 88.4, counted_at=32, constants=DFL_CONSTANTS),
    "yolov13x": Published(64.0, 199.2, counted_at=32, constants=DFL_CONSTANTS),
}


def flops_as_published(model: nn.Module, published: Published) -> float:
    """GFLOPs, counted as the publisher does."""
    network = fold(model) if published.folded else model.eval()
    counts = []

    def conv(module: nn.Conv2d, inputs: object, output: torch.Tensor) -> None:
        counts.append(output.numel() * module.weight[0].numel())

    def linear(module: nn.Linear, inputs: object, output: torch.Tensor) -> None:
        counts.append(output.numel() * module.in_features)

    def norm(module: nn.BatchNorm2d, inputs: object, output: torch.Tensor) -> None:
        counts.append(2 * output.numel())

    for module in network.modules():
        for kind, hook in ((nn.Conv2d, conv), (nn.Linear, linear), (nn.BatchNorm2d, norm)):
            if isinstance(module, kind):
                module.register_forward_hook(hook)
    side = published.counted_at or published.imgsz
    with torch.no_grad():
        network(torch.empty(1, 3, side, side, device="meta"))
    return 2 * sum(counts) * (published.imgsz / side) ** 2 / 1e9


def counted(name: str) -> tuple[float, float, float]:
    """Our millions of parameters, GFLOPs counted as published, and GFLOPs folded with every product."""
    published = PUBLISHED[name]
    with torch.device("meta"):
        model = build_model(name, num_classes=80)
    everything = 2 * count_macs(fold(model), published.imgsz) / 1e9
    return (count_parameters(model) + published.constants) / 1e6, flops_as_published(model, published), everything


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_flops_are_the_published_ones_and_the_page_says_so(name):
    published, (params_m, flops_g, everything_g) = PUBLISHED[name], counted(name)
    assert params_m == pytest.approx(published.params_m, rel=0.01)
    assert flops_g == pytest.approx(published.flops_g, rel=0.01)
    row = (
        f"| {name} | {published.imgsz} | {published.params_m} | {params_m:.3f} | {published.flops_g} | {flops_g:.3f} "
        f"| {everything_g:.3f} |"
    )
    assert row in PAGE.read_text(encoding="utf-8"), row


def test_the_page_has_no_other_model():
    names = re.findall(r"^\| (yolo\S+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert names == list(PUBLISHED)

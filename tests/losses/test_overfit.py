"""A small network of each head learns four pictures by heart, and then finds each object where it is, once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ghostyolo.data.targets import Targets
from ghostyolo.losses.registry import build_criterion
from ghostyolo.models import build_model
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.registry import register_backbone
from ghostyolo.nn.blocks import Conv
from ghostyolo.nn.reparam import fold
from ghostyolo.runtime.postprocess import select_detections
from ghostyolo.thresholds import Selection
from tests.train import tiny  # registers "test-none"

SIDE, STEPS = 64, 120
BOXES = [
    [[8.0, 8.0, 40.0, 32.0]],
    [[4.0, 20.0, 28.0, 60.0], [36.0, 4.0, 60.0, 28.0]],
    [[20.0, 12.0, 60.0, 52.0]],
    [],
]
LABELS = [[0], [1, 0], [1], []]
COLOURS = torch.tensor([[1.0, 0.1, 0.1], [0.1, 0.2, 1.0]])


@register_backbone("test-small")
class Small(nn.Module):
    strides = (8, 16, 32)
    channels = (24, 24, 24)

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.fine = nn.Sequential(Conv(in_channels, 16, 5, 4), Conv(16, 24, 3, 2))
        self.middle, self.coarse = Conv(24, 24, 3, 2), Conv(24, 24, 3, 2)

    def forward(self, image: Tensor) -> list[Tensor]:
        fine = self.fine(image)
        middle = self.middle(fine)
        return [fine, middle, self.coarse(middle)]


def pictures() -> tuple[Tensor, Targets]:
    images = torch.full((len(BOXES), 3, SIDE, SIDE), 0.4)
    for image, boxes, labels in zip(images, BOXES, LABELS, strict=True):
        for (left, top, right, bottom), label in zip(boxes, labels, strict=True):
            image[:, int(top) : int(bottom), int(left) : int(right)] = COLOURS[label].view(3, 1, 1)
    boxes = [torch.tensor(rows).reshape(-1, 4) for rows in BOXES]
    return images, Targets.from_lists(boxes, [torch.tensor(rows, dtype=torch.long) for rows in LABELS])


def learn(head: dict[str, object]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes and scores that the folded network gives for each picture in the end."""
    torch.manual_seed(0)
    parts = {"backbone": "test-small", "neck": "test-none", "head": head}
    model = build_model(DetectorConfig.from_dict(parts, "test"), num_classes=2).train()
    assert isinstance(model.neck, tiny.NoNeck)
    criterion = build_criterion(str(head["type"]), model.head)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, STEPS)
    images, targets = pictures()
    for step in range(STEPS):
        if hasattr(criterion, "begin_epoch"):
            criterion.begin_epoch(step, STEPS, STEPS // 3)
        optimizer.zero_grad()
        criterion(model(images), targets)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        schedule.step()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # the statistics of the last weights, not an average on the way
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model(images)
        boxes, scores = fold(model)(images)
    return list(zip(boxes.numpy(), scores.numpy(), strict=True))


@pytest.mark.parametrize(
    ("head", "nms"),
    [
        ({"type": "dfl", "bins": 8, "cls_depthwise": False}, True),
        ({"type": "yolox", "width": 0.25}, True),
        ({"type": "end2end", "bins": 8}, False),
    ],
    ids=["dfl", "yolox", "end2end"],
)
def test_every_object_is_found_once(head, nms):
    for picture, (boxes, scores) in enumerate(learn(head)):
        found = select_detections(boxes, scores, Selection(confidence=0.5, iou=0.5, max_detections=100), nms=nms)
        assert sorted(found[2].tolist()) == sorted(LABELS[picture]), picture
        for box, label in zip(BOXES[picture], LABELS[picture], strict=True):
            np.testing.assert_allclose(found[0][found[2] == label], [box], atol=3)

"""Objects of rare classes that count more in the class loss, of every criterion."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.data.targets import Targets
from ghostyolo.losses.anchor import AnchorCriterion
from ghostyolo.losses.dfl import DflCriterion
from ghostyolo.losses.yolox import YoloXCriterion
from tests.losses.anchor_scenes import random_output as random_anchor_output
from tests.losses.scenes import random_output, random_targets
from tests.losses.simota_scenes import random_yolox_output

CLASSES = 3
CRITERIA = {
    "dfl": (DflCriterion, lambda: random_output(2, 64, CLASSES)),
    "yolox": (YoloXCriterion, lambda: random_yolox_output(2, 64, CLASSES)),
    "anchor": (AnchorCriterion, lambda: random_anchor_output(2, 64, 64, CLASSES)),
}


@pytest.fixture(params=CRITERIA)
def scene(request):
    kind, output = CRITERIA[request.param]
    torch.manual_seed(0)
    return kind(CLASSES), output(), random_targets([6, 9], 64, CLASSES)


def losses(scene, weights: list[float] | None, targets: Targets | None = None) -> dict[str, float]:
    criterion, output, usual = scene
    targets = targets or usual
    targets.class_weights = None if weights is None else torch.tensor(weights)
    return {name: value.item() for name, value in criterion(output, targets).items()}


def test_weights_of_one_change_nothing(scene):
    assert losses(scene, [1.0] * CLASSES) == pytest.approx(losses(scene, None))


def test_only_the_class_loss_is_weighted_and_is_linear_in_the_weights(scene):
    plain, twice, first = losses(scene, None), losses(scene, [2.0] * CLASSES), losses(scene, [2.0, 1.0, 1.0])
    for part in plain.keys() - {"cls", "loss"}:
        assert twice[part] == plain[part]
    assert plain["cls"] < first["cls"] < twice["cls"]
    parts = [losses(scene, [1.0 + (number == one) for number in range(CLASSES)])["cls"] for one in range(CLASSES)]
    assert sum(part - plain["cls"] for part in parts) == pytest.approx(twice["cls"] - plain["cls"], rel=1e-4)


def test_without_objects_weights_mean_nothing(scene):
    empty = Targets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0, dtype=torch.bool))
    assert losses(scene, [9.0] * CLASSES, empty) == losses(scene, None, empty)

"""Regions to ignore: no head learns from them that there is nothing, and objects in them are learned as before."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.data.targets import Targets
from ghostyolo.losses.anchor import AnchorCriterion
from ghostyolo.losses.dfl import DflCriterion
from ghostyolo.losses.yolox import YoloXCriterion
from ghostyolo.nn.boxes import decode_distances, expected_distance
from tests.losses import anchor_scenes
from tests.losses.scenes import random_output
from tests.losses.simota_scenes import random_yolox_output

REGION, OBJECT = [32.0, 32.0, 64.0, 64.0], [4.0, 4.0, 24.0, 24.0]


def targets(*rows: tuple[list[float], int]) -> Targets:
    boxes, labels = [box for box, _ in rows], [label for _, label in rows]
    return Targets.from_lists([torch.tensor(boxes).reshape(-1, 4)], [torch.tensor(labels, dtype=torch.long)])


def dfl():
    output = random_output(1, 64, 2)
    return output, DflCriterion(2), [output.cls_logits]


def yolox():
    output = random_yolox_output(1, 64, 2)
    return output, YoloXCriterion(2), [output.obj_logits]


def anchor():
    output = anchor_scenes.random_output(1, 64, 64, 2)
    for level in output.logits:
        level.retain_grad()
    return output, AnchorCriterion(2), output.logits


def in_region(output, gradient, level):
    """Gradients of the scores of cells whose centre lies in the region."""
    if gradient.ndim < 5:
        inside = ((output.centers > 32) & (output.centers < 64)).all(-1)
        return gradient[:, inside]
    half = gradient.shape[-1] // 2
    return gradient[:, :, 4, half:, half:]


@pytest.mark.parametrize("head", [dfl, yolox, anchor])
def test_a_region_to_ignore_is_not_taught_as_background(head):
    output, criterion, scores = head()
    criterion(output, targets((REGION, ~0), (REGION, ~1)))["loss"].backward()
    for level, score in enumerate(scores):
        gradient = score.grad
        assert in_region(output, gradient, level).abs().sum() == 0
        assert gradient.abs().sum() > 0  # elsewhere it is


@pytest.mark.parametrize("head", [dfl, yolox, anchor])
def test_without_a_region_all_of_it_is_background(head):
    output, criterion, scores = head()
    criterion(output, targets())["loss"].backward()
    assert all(in_region(output, score.grad, level).abs().min() > 0 for level, score in enumerate(scores))


def test_a_region_is_ignored_for_its_own_class_alone():
    output, criterion, (scores,) = dfl()
    criterion(output, targets((REGION, ~1)))["loss"].backward()
    gradient = in_region(output, scores.grad, 0)
    assert gradient[..., 1].abs().sum() == 0
    assert gradient[..., 0].abs().min() > 0


def test_regions_and_unknown_classes_are_ignored_together():
    output, criterion, (scores,) = dfl()
    both = targets((REGION, ~0))
    both.known = torch.tensor([[True, False]])
    criterion(output, both)["loss"].backward()
    assert scores.grad[..., 1].abs().sum() == 0
    assert in_region(output, scores.grad, 0).abs().sum() == 0
    assert scores.grad[..., 0].abs().sum() > 0


def test_an_object_in_a_region_is_learned_as_without_it():
    output, criterion, (scores,) = dfl()
    inside = [40.0, 40.0, 60.0, 60.0]
    alone = criterion.assigner(*assigner_input(output), targets((inside, 0)))
    both = criterion.assigner(*assigner_input(output), targets((inside, 0), (REGION, ~0)))
    assert torch.equal(alone.cls_targets, both.cls_targets)
    criterion(output, targets((inside, 0), (REGION, ~0)))["loss"].backward()
    assert scores.grad[both.foreground].abs().min() > 0


def assigner_input(output):
    distances = expected_distance(output.box_logits.detach(), 16)
    boxes = decode_distances(output.centers, distances, output.strides)
    return output.cls_logits.detach(), boxes, output.centers, output.strides

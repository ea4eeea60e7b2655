"""The distillation of boxes: distributions by hand, decoded boxes where there are none in common."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ghostyolo.losses.cell_predictions import CellPredictions
from ghostyolo.losses.distil_detector import box_distillation, side_divergence


def corners(values: Tensor, anchors: Tensor) -> Tensor:
    return values


def cells(scores: list[float], boxes: list[list[float]], bins: int | None = None) -> CellPredictions:
    logits = torch.tensor([[[math.log(p / (1 - p))] for p in scores]])
    return CellPredictions(logits, torch.tensor([boxes]), bins, corners)


def test_divergence_of_a_side_and_the_mean_of_four() -> None:
    # Left: teacher (3/4, 1/4), student (1/2, 1/2): 0.130812; the other sides agree.
    teacher = torch.tensor([[math.log(3), 0, 0, 0, 0, 0, 0, 0]])
    assert side_divergence(torch.zeros(1, 8), teacher, 2, 1.0).item() == pytest.approx(0.130812 / 4, abs=1e-6)
    # At tau 2 a teacher of twice the logit is the same distribution, and the loss is 4 times as large.
    assert side_divergence(torch.zeros(1, 8), 2 * teacher, 2, 2.0).item() == pytest.approx(0.130812, abs=1e-6)


def test_only_sure_cells_teach_boxes_and_by_their_confidence() -> None:
    one, other = [math.log(3), 0, 0, 0, 0, 0, 0, 0], [math.log(3), 0, math.log(3), 0, 0, 0, 0, 0]
    teacher = cells([0.8, 0.4, 0.0999], [one, other, [9.0] + [0.0] * 7], bins=2)
    student = cells([0.5, 0.5, 0.5], [[0.0] * 8] * 3, bins=2)
    side = 0.130812 / 4
    expected = (0.8 * side + 0.4 * 2 * side) / 1.2
    assert box_distillation(student, teacher, 1.0).item() == pytest.approx(expected, abs=1e-6)


def test_other_bins_compare_decoded_boxes() -> None:
    # Boxes of 2 x 2 that share a half: IoU 1/3, and their hull is their union, so GIoU too.
    teacher = cells([0.8, 0.6], [[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    student = cells([0.1, 0.1], [[0.0, 1.0, 2.0, 3.0], [5.0, 5.0, 6.0, 6.0]])
    assert box_distillation(student, teacher, 2.0).item() == pytest.approx(0.8 * (2 / 3) / 1.4, abs=1e-5)


def test_no_sure_cell_is_no_loss_and_has_a_gradient_all_the_same() -> None:
    student = cells([0.5], [[0.0] * 8], bins=2)
    student.box_values.requires_grad_()
    loss = box_distillation(student, cells([0.05], [[1.0] * 8], bins=2), 1.0)
    loss.backward()
    assert loss.item() == 0
    assert student.box_values.grad is not None
    assert not student.box_values.grad.any()


def test_equal_boxes_have_no_loss() -> None:
    boxes = [[0.0, 0.0, 30.0, 20.0]]
    assert box_distillation(cells([0.5], boxes), cells([0.9], boxes), 2.0).item() == pytest.approx(0, abs=1e-6)
    bins = [[0.3, -1.0, 2.0, 0.5, 0.0, 4.0, -3.0, 1.0]]
    assert box_distillation(cells([0.5], bins, 2), cells([0.9], bins, 2), 2.0).item() == 0

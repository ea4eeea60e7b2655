"""The distillation of scores, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ghostyolo.losses.distil_detector import binary_divergence, score_distillation


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_divergence_of_one_class_is_that_of_a_yes_or_no_question() -> None:
    # teacher 3/4, student 1/2: 3/4 ln(3/2) + 1/4 ln(1/2) = 0.304099 - 0.173287 = 0.130812
    found = binary_divergence(torch.tensor([0.0]), torch.tensor([logit(0.75)]))
    assert found.item() == pytest.approx(0.130812, abs=1e-6)


def test_cells_weigh_as_much_as_the_teacher_is_sure_and_classes_add_up() -> None:
    # Three cells of two classes: (3/4, 1/2), (3/4, 1/4), (1/2, 1/2); the student says 1/2 everywhere.
    rows = [[0.75, 0.5], [0.75, 0.25], [0.5, 0.5]]
    teacher = torch.tensor([[[logit(p) for p in row] for row in rows]])
    # weights 3/4, 3/4, 1/2: (3/4 x 0.130812 + 3/4 x 2 x 0.130812 + 0) / 2
    expected = 0.75 * 3 * 0.130812 / 2
    assert score_distillation(torch.zeros(1, 3, 2), teacher, 1.0).item() == pytest.approx(expected, abs=1e-6)


def test_temperature_softens_both_and_keeps_the_size_of_the_gradient() -> None:
    # At tau 2 a logit of 2 ln 3 becomes ln 3, probability 3/4; one cell of weight 9/10, divided by at least 1.
    teacher = torch.tensor([[[2 * math.log(3)]]])
    found = score_distillation(torch.zeros(1, 1, 1), teacher, 2.0)
    assert found.item() == pytest.approx(4 * 0.9 * 0.130812, abs=1e-5)


def test_empty_cells_do_not_drown_an_object() -> None:
    teacher = torch.full((1, 10_001, 1), logit(1e-4))
    teacher[0, 0] = logit(0.9)
    student = torch.full((1, 10_001, 1), logit(1e-3))
    student.requires_grad_()
    score_distillation(student, teacher, 1.0).backward()
    assert student.grad is not None
    assert student.grad[0, 0].abs().item() > 100 * student.grad[0, 1:].abs().sum().item()


def test_a_student_that_says_the_same_has_no_loss_and_a_picture_without_cells_neither() -> None:
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)) * 20
    assert score_distillation(logits, logits, 2.0).item() == 0
    assert score_distillation(torch.zeros(1, 0, 3), torch.zeros(1, 0, 3), 2.0).item() == 0


def test_extreme_logits_stay_finite() -> None:
    student = torch.tensor([[[200.0], [-200.0]]], requires_grad=True)
    loss = score_distillation(student, -student.detach(), 1.0)
    loss.backward()
    # The teacher's only confident cell is the second: ln(1 / e^-200) = 200.
    assert loss.item() == pytest.approx(200, rel=1e-6)
    assert torch.isfinite(student.grad).all()

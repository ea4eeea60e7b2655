"""The teacher's part of the loss, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ghostyolo.losses.distil_classifier import classification_loss, distillation_loss


def test_divergence_is_what_the_formula_says() -> None:
    # Teacher 0.8, 0.2 and student 0.5, 0.5: KL = 0.8 ln 1.6 + 0.2 ln 0.4 = 0.192745.
    teacher = torch.tensor([[math.log(4.0), 0.0]])
    assert distillation_loss(torch.zeros(1, 2), teacher, tau=1.0).item() == pytest.approx(0.192745, abs=1e-6)


def test_temperature_softens_both_and_its_square_restores_the_size() -> None:
    # Logits of 2 ln 4 at tau 2 are the same 0.8 and 0.2, times 2 squared.
    teacher = torch.tensor([[2 * math.log(4.0), 0.0]])
    assert distillation_loss(torch.zeros(1, 2), teacher, tau=2.0).item() == pytest.approx(4 * 0.192745, abs=1e-5)


def test_divergence_is_a_mean_over_the_batch_and_zero_between_equals() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    assert distillation_loss(logits, logits + 7, tau=3.0).item() == pytest.approx(0, abs=1e-6)
    teacher = torch.tensor([[math.log(4.0), 0.0], [0.0, 0.0]])
    assert distillation_loss(torch.zeros(2, 2), teacher, tau=1.0).item() == pytest.approx(0.192745 / 2, abs=1e-6)


def test_alpha_shares_out_between_labels_and_teacher() -> None:
    logits, teacher = torch.zeros(1, 2), torch.tensor([[math.log(4.0), 0.0]])
    losses = classification_loss(logits, torch.tensor([0]), teacher, alpha=0.25, tau=1.0, smoothing=0.0)
    assert losses["ce"].item() == pytest.approx(0.75 * math.log(2), abs=1e-6)
    assert losses["kd"].item() == pytest.approx(0.25 * 0.192745, abs=1e-6)
    assert losses["loss"].item() == pytest.approx(0.75 * math.log(2) + 0.25 * 0.192745, abs=1e-6)


def test_without_a_teacher_labels_count_in_full() -> None:
    losses = classification_loss(torch.zeros(1, 4), torch.tensor([2]), alpha=0.9, tau=1.0, smoothing=0.0)
    assert set(losses) == {"loss", "ce"}
    assert losses["loss"].item() == pytest.approx(math.log(4), abs=1e-6)


def test_smoothing_spreads_its_share_over_all_classes() -> None:
    # Targets 0.95, 0.05; student 0.8, 0.2.
    logits = torch.tensor([[math.log(4.0), 0.0]])
    losses = classification_loss(logits, torch.tensor([0]), alpha=0.0, tau=1.0, smoothing=0.1)
    assert losses["loss"].item() == pytest.approx(-0.95 * math.log(0.8) - 0.05 * math.log(0.2), abs=1e-6)


def test_mixed_pictures_have_probabilities_for_targets() -> None:
    logits = torch.tensor([[math.log(4.0), 0.0]])
    losses = classification_loss(logits, torch.tensor([[0.3, 0.7]]), alpha=0.0, tau=1.0, smoothing=0.0)
    assert losses["loss"].item() == pytest.approx(-0.3 * math.log(0.8) - 0.7 * math.log(0.2), abs=1e-6)


def test_the_teacher_gets_no_gradient_from_a_detached_forward_but_the_student_does() -> None:
    student = torch.zeros(2, 3, requires_grad=True)
    distillation_loss(student, torch.tensor([[2.0, 0.0, 0.0]] * 2), tau=4.0).backward()
    # d/ds of tau^2 KL is tau (softmax(s / tau) - softmax(t / tau)), a mean over two pictures.
    expected = 4 * (torch.full((3,), 1 / 3) - torch.softmax(torch.tensor([0.5, 0.0, 0.0]), 0)) / 2
    torch.testing.assert_close(student.grad, expected.expand(2, 3))

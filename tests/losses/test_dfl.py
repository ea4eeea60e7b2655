"""Distribution focal loss."""

import math

import pytest
import torch

from ghostyolo.losses.dfl import distribution_focal_loss


def test_uniform_logits_cost_the_log_of_the_bins_wherever_the_target_lies():
    distances = torch.tensor([[0.0, 2.5, 7.0, 99.0]])
    loss = distribution_focal_loss(torch.zeros(1, 64), distances, 16)
    assert loss.tolist() == pytest.approx([math.log(16)])


def test_target_between_bins_by_hand():
    # Probabilities 1/2, 1/4, 1/4; target 0.25: 0.75 of bin 0 and 0.25 of bin 1.
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log().repeat(1, 4)
    loss = distribution_focal_loss(logits, torch.full((1, 4), 0.25), 3)
    assert loss.item() == pytest.approx(0.75 * math.log(2) + 0.25 * math.log(4))


def test_the_mean_runs_over_the_sides():
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log().repeat(1, 4)
    loss = distribution_focal_loss(logits, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 3)
    assert loss.item() == pytest.approx((2 * math.log(2) + 2 * math.log(4)) / 4)


@pytest.mark.parametrize(("distance", "as_if"), [(-3.0, 0.0), (15.0, 14.99), (1e6, 14.99), (math.inf, 14.99)])
def test_targets_beyond_the_bins_are_clamped(distance, as_if):
    logits = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    clamped = distribution_focal_loss(logits, torch.full((1, 4), distance), 16)
    torch.testing.assert_close(clamped, distribution_focal_loss(logits, torch.full((1, 4), as_if), 16))


def test_the_minimum_lies_at_the_shares_of_the_target():
    best = torch.tensor([[1e-9, 0.3, 0.7, 1e-9]]).log().repeat(1, 4).requires_grad_()
    distribution_focal_loss(best, torch.full((1, 4), 1.7), 4).sum().backward()
    torch.testing.assert_close(best.grad, torch.zeros(1, 16), atol=1e-6, rtol=0)


def test_gradient_is_the_derivative():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 32, generator=generator, dtype=torch.float64, requires_grad=True)
    distances = torch.rand(3, 4, generator=generator, dtype=torch.float64) * 9
    assert torch.autograd.gradcheck(lambda logits: distribution_focal_loss(logits, distances, 8), (logits,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(dtype):
    logits = torch.randn(2, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    distances = torch.tensor([[1.0, 2.0, 3.0, 14.99]] * 2)
    loss = distribution_focal_loss(logits, distances.to(dtype), 16)
    assert loss.dtype == torch.float32
    expected = distribution_focal_loss(logits.float(), distances.to(dtype).float(), 16)
    torch.testing.assert_close(loss, expected)


def test_no_anchors_cost_nothing():
    logits = torch.zeros(0, 64, requires_grad=True)
    loss = distribution_focal_loss(logits, torch.zeros(0, 4), 16).sum()
    loss.backward()
    assert loss.item() == 0

"""The losses of pictures without labels have the values of the papers' formulas."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.losses.unlabelled import features_loss, views_loss


def test_views_that_are_equal_and_vary_enough_cost_only_what_features_share():
    """Two features of deviation 2 and covariance 4 / 3 x 1: the off-diagonal is what costs."""
    first = torch.tensor([[2.0, 2.0], [-2.0, 2.0], [2.0, -2.0], [-2.0, -2.0]])
    losses = views_loss(first, first)
    assert losses["invariance"] == 0
    assert losses["variance"] == 0
    assert losses["covariance"] == 0
    same = first[:, :1].expand(-1, 2)
    # The covariance is 16 / 3; it stands twice beside the diagonal, for two features, in two views.
    assert views_loss(same, same)["covariance"] == pytest.approx(2 * 2 * (16 / 3) ** 2 / 2)


def test_views_that_collapse_cost_their_missing_deviation():
    losses = views_loss(torch.zeros(4, 3), torch.ones(4, 3))
    assert losses["invariance"] == pytest.approx(25.0)
    assert losses["variance"] == pytest.approx(25 * (1 - 0.01))  # the root of the published 1e-4 is left
    assert losses["loss"] == pytest.approx(float(losses["invariance"] + losses["variance"] + losses["covariance"]))


def test_features_are_compared_after_their_scale_is_taken_out():
    theirs = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    white = torch.nn.functional.layer_norm(theirs.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2)
    assert features_loss(white, theirs) == pytest.approx(0, abs=1e-10)
    assert features_loss(white, 7 * theirs + 3) == pytest.approx(0, abs=1e-6)
    assert features_loss(white + 1, theirs) == pytest.approx(0.25)  # 1^2 / (2 x 2), below the bend at 2
    assert features_loss(torch.zeros(2, 8, 2, 2), theirs).shape == ()

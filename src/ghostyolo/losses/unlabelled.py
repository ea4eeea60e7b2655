"""What a backbone learns from pictures without labels.

A teacher's features, or that views are alike.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Weights of the three terms, and the least deviation that a feature must have, as published.
_INVARIANCE, _VARIANCE, _COVARIANCE = 25.0, 25.0, 1.0
_DEVIATION, _EPS = 1.0, 1e-4


def views_loss(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """Compare two views of each picture (VICReg).

    They are to be alike, while features vary and say different things.

    Source: Bardes et al., 2022, arXiv 2105.04906, equations 1 to 6.

    Args:
        first, second: (B, D) embeddings of B pictures, B >= 2.

    Returns:
        ``loss`` and its weighted parts ``invariance``, ``variance`` and ``covariance``.
    """
    first, second = first.float(), second.float()
    invariance = F.mse_loss(first, second)
    variance, covariance = first.new_zeros(()), first.new_zeros(())
    for view in (first, second):
        centred = view - view.mean(0)
        count, width = view.shape
        deviation = (view.var(0) + _EPS).sqrt()
        variance = variance + F.relu(_DEVIATION - deviation).mean() / 2
        matrix = centred.T @ centred / (count - 1)
        covariance = covariance + (matrix.square().sum() - matrix.diagonal().square().sum()) / width
    parts = {
        "invariance": _INVARIANCE * invariance,
        "variance": _VARIANCE * variance,
        "covariance": _COVARIANCE * covariance,
    }
    return {"loss": torch.stack(list(parts.values())).sum(), **parts}


def features_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Distance of a map from the teacher's, whose features are whitened at each place.

    A layer norm without weights takes out the scale, which differs from network to network; the distance is smooth L1.
    Source: Wei et al., 2022, arXiv 2205.14141, sections 3.1 and 3.3.

    Args:
        ours: (B, C, h, w), projected to the teacher's channels.
        theirs: (B, C, H, W); it is brought to our size.
    """
    if theirs.shape[2:] != ours.shape[2:]:
        theirs = F.interpolate(theirs, ours.shape[2:], mode="bilinear", antialias=True)
    target = F.layer_norm(theirs.permute(0, 2, 3, 1).float(), (theirs.shape[1],))
    return F.smooth_l1_loss(ours.permute(0, 2, 3, 1).float(), target, beta=2.0)

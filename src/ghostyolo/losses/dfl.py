"""Distribution focal loss: teach a side's distribution to peak at the two bins around its true distance.

Shapes: N anchors, four sides, ``bins`` logits a side, bin i standing for i strides.
Source: Li et al., 2020, "Generalized Focal Loss" (arXiv 2006.04388), equation 6.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The highest target stays this far below the last bin, so that a bin to its right always exists.
LAST_BIN_MARGIN = 0.01


def distribution_focal_loss(box_logits: Tensor, distances: Tensor, bins: int) -> Tensor:
    """Cross entropy of the two bins around each distance, weighted by nearness.

    Args:
        box_logits: (N, 4 x bins); left, top, right, bottom. Computed in float32 at least.
        distances: (N, 4) true distances in strides; clamped to 0 .. bins - 1 - 0.01.
        bins: number of bins of each side, at least 2.

    Returns:
        (N,) mean over the four sides.
    """
    dtype = torch.promote_types(box_logits.dtype, torch.float32)
    log_probabilities = box_logits.to(dtype).unflatten(-1, (4, bins)).log_softmax(-1)
    positions = distances.to(dtype).clamp(0, bins - 1 - LAST_BIN_MARGIN)
    lower = positions.floor()
    upper_share = positions - lower
    around = lower.long().unsqueeze(-1) + torch.arange(2, device=positions.device)
    shares = torch.stack((1 - upper_share, upper_share), -1)
    return -(log_probabilities.gather(-1, around) * shares).sum(-1).mean(-1)

"""Learn where each channel of a teacher's feature maps is active (channel-wise distillation).

The positions i of a channel's map are a distribution, and the student's is drawn to the teacher's::

    loss = tau^2 x mean over pictures and channels of sum_i KL(softmax_i(teacher / tau) || softmax_i(student / tau))

A constant added to a channel changes nothing: only the pattern counts. Source: Shu et al., 2021, "Channel-wise
Knowledge Distillation for Dense Prediction" (arXiv 2011.13256), equations 3 and 4. A mean over several maps is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def feature_distillation(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], tau: float) -> Tensor:
    """Mean of the loss above over pairs of maps, a scalar.

    Args:
        student_maps, teacher_maps: (B, C_i, H_i, W_i), equal shapes in pairs, one pair at least.
        tau: temperature above 0.
    """
    pairs = zip(student_maps, teacher_maps, strict=True)
    return torch.stack([channel_divergence(student, teacher, tau) for student, teacher in pairs]).mean()


def channel_divergence(student_map: Tensor, teacher_map: Tensor, tau: float) -> Tensor:
    """The loss of one pair of maps (B, C, H, W)."""
    student, teacher = (functional.log_softmax(values.flatten(2) / tau, -1) for values in (student_map, teacher_map))
    return tau**2 * (teacher.exp() * (teacher - student)).sum(-1).mean()

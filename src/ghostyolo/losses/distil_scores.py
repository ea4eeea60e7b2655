"""Learn a teacher's scores at every cell: divergence of independent classes, weighted by the teacher's confidence.

With teacher and student logits t and s of cell a and class c, and the teacher's confidence w_a = max_c sigmoid(t_ac)::

    loss = tau^2 x sum_a w_a sum_c KL(sigmoid(t_ac / tau) || sigmoid(s_ac / tau)) / max(sum_a w_a, 1)

KL is that of a yes-or-no question, since a detector's classes do not exclude each other. The weight keeps thousands of
empty cells, of which each says little, from drowning the few that hold an object; false alarms there are left to the
labels. ``tau^2`` keeps the size of the gradients.
Sources: yes-or-no distillation of dense detectors: Yang et al., 2023 (arXiv 2308.14286); temperature: Hinton et al.,
2015 (1503.02531). Weighting by the teacher's confidence, and dividing by its sum, is ours.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def score_distillation(student_logits: Tensor, teacher_logits: Tensor, tau: float) -> Tensor:
    """The loss above, a scalar, in float32 at least; 0 where both say the same.

    Args:
        student_logits, teacher_logits: (B, A, classes), before the sigmoid, of the same cells.
        tau: temperature above 0; higher ones soften both.
    """
    weights = teacher_logits.sigmoid().amax(-1)
    by_cell = binary_divergence(student_logits / tau, teacher_logits / tau).sum(-1)
    return tau**2 * (by_cell * weights).sum() / weights.sum().clamp(min=1)


def binary_divergence(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """KL(sigmoid(teacher) || sigmoid(student)) of each pair of logits, in nats.

    With p the teacher's probability, that is p (log p - log q) + (1 - p) (log (1 - p) - log (1 - q)).
    """
    yes = functional.logsigmoid(teacher_logits) - functional.logsigmoid(student_logits)
    no = functional.logsigmoid(-teacher_logits) - functional.logsigmoid(-student_logits)
    probability = teacher_logits.sigmoid()
    return probability * yes + (1 - probability) * no

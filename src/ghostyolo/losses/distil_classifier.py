"""A classifier learns from a teacher's logits beside labels.

Hinton et al., arXiv 1503.02531; GhostNetV3, 2404.11202.

    loss = (1 - alpha) x cross entropy + alpha x tau^2 x KL(softmax(teacher / tau) || softmax(student / tau))

``tau^2`` keeps the size of the gradients, which fall as ``1 / tau^2``. With alpha 0 the teacher has no part.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, tau: float) -> Tensor:
    """Return the student's mean divergence from the teacher, times ``tau`` squared.

    Args:
        student_logits, teacher_logits: (B, classes).
        tau: temperature above 0: higher ones soften both distributions.
    """
    teacher = F.log_softmax(teacher_logits.float() / tau, dim=1)
    student = F.log_softmax(student_logits.float() / tau, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * tau**2


def classification_loss(
    logits: Tensor, targets: Tensor, teacher_logits: Tensor | None = None, *, alpha: float, tau: float, smoothing: float
) -> dict[str, Tensor]:
    """Cross entropy, with a teacher's logits also the distillation loss.

    Args:
        logits: (B, classes).
        targets: (B,) int64 classes, or (B, classes) probabilities of mixed pictures.
        alpha: share of the teacher, 0 to 1; without one it does not count.
        smoothing: share of every target that is spread over all classes.

    Returns:
        ``"loss"`` and its weighted parts, ``"ce"`` and, with a teacher, ``"kd"``.
    """
    entropy = F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)
    if teacher_logits is None:
        return {"loss": entropy, "ce": entropy}
    parts = {"ce": (1 - alpha) * entropy, "kd": alpha * distillation_loss(logits, teacher_logits, tau)}
    return {"loss": parts["ce"] + parts["kd"], **parts}

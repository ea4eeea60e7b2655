"""A detector learns from a teacher: scores, boxes and feature maps.

Scores, with logits t and s of cell a and class c, and the teacher's confidence w_a = max_c sigmoid(t_ac)::

    loss = tau^2 x sum_a w_a sum_c KL(sigmoid(t_ac / tau) || sigmoid(s_ac / tau)) / max(sum_a w_a, 1)

KL is that of a yes-or-no question, since a detector's classes do not exclude each other. The weight keeps thousands of
empty cells, of which each says little, from drowning the few that hold an object; false alarms there are left to the
labels. ``tau^2`` keeps the size of the gradients.

Boxes, at the cells where the teacher is sure that there is an object: w reaches 0.1. Two distributions over the same
bins compare bin by bin::

    loss = tau^2 x sum_a w_a mean_sides KL(softmax(t / tau) || softmax(s / tau)) / max(sum_a w_a, 1)

Where the bins differ, or a head has none, decoded boxes do, which all heads have::

    loss = sum_a w_a (1 - GIoU(student's box, teacher's box)) / max(sum_a w_a, 1)

Feature maps: where a channel is active; positions i of its map are a distribution::

    loss = tau^2 x mean over pictures and channels of sum_i KL(softmax_i(teacher / tau) || softmax_i(student / tau))

A constant added to a channel changes nothing: only the pattern counts.

Sources: yes-or-no distillation and overlap of decoded boxes: Yang et al., 2023 (arXiv 2308.14286); temperature: Hinton
et al., 2015 (1503.02531); localization distillation: Zheng et al., 2022 (2102.12252); channels: Shu et al., 2021
(2011.13256), equations 3 and 4. The threshold, the weights and the mean over several maps are ours. Shapes: P cells of
the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ghostyolo.losses.cell_predictions import CellPredictions
from ghostyolo.losses.iou import iou_aligned

SURE = 0.1  # confidence of the teacher from which on its box teaches


def score_distillation(student_logits: Tensor, teacher_logits: Tensor, tau: float) -> Tensor:
    """Return the loss of scores above, a scalar, 0 where both agree.

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


def box_distillation(student: CellPredictions, teacher: CellPredictions, tau: float) -> Tensor:
    """Return the loss of boxes above.

    By distributions where both have the same bins, else by boxes; a scalar, 0 where no cell is sure.

    Args:
        student, teacher: of the same cells.
        tau: temperature above 0, of distributions.
    """
    confidence = teacher.score_logits.sigmoid().amax(-1).flatten()
    sure = (confidence >= SURE).nonzero().squeeze(1)
    weights = confidence[sure]
    if student.bins is not None and student.bins == teacher.bins:
        sides, teacher_sides = (view.box_values.flatten(0, 1).index_select(0, sure) for view in (student, teacher))
        by_cell = side_divergence(sides, teacher_sides, student.bins, tau)
    else:
        by_cell = 1 - iou_aligned(student.boxes_xyxy(sure), teacher.boxes_xyxy(sure), "giou")
    return (by_cell * weights).sum() / weights.sum().clamp(min=1)


def side_divergence(student_logits: Tensor, teacher_logits: Tensor, bins: int, tau: float) -> Tensor:
    """tau^2 x KL(teacher || student) of the four sides' distributions, their mean (P,).

    Args:
        student_logits, teacher_logits: (P, 4 x bins); left, top, right, bottom.
    """
    student, teacher = (
        functional.log_softmax(logits.unflatten(-1, (4, bins)) / tau, -1) for logits in (student_logits, teacher_logits)
    )
    return tau**2 * (teacher.exp() * (teacher - student)).sum(-1).mean(-1)


def feature_distillation(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], tau: float) -> Tensor:
    """Return the mean loss of pairs of feature maps, a scalar.

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

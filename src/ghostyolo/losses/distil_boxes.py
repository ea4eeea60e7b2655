"""Learn a teacher's boxes, at the cells where it is sure that there is an object: its confidence w reaches 0.1.

Two distributions over the same bins compare bin by bin, with temperature::

    loss = tau^2 x sum_a w_a mean_sides KL(softmax(t / tau) || softmax(s / tau)) / max(sum_a w_a, 1)

Where the bins differ, or a head has none, decoded boxes do, which all heads have::

    loss = sum_a w_a (1 - GIoU(student's box, teacher's box)) / max(sum_a w_a, 1)

Sources: localization distillation: Zheng et al., 2022 (arXiv 2102.12252); by the overlap of decoded boxes: Yang et al.,
2023 (2308.14286). The threshold and the weights are ours. Shapes: P cells of the whole batch.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ghostyolo.losses.cell_predictions import CellPredictions
from ghostyolo.losses.iou import iou_aligned

SURE = 0.1


def box_distillation(student: CellPredictions, teacher: CellPredictions, tau: float) -> Tensor:
    """The first loss above where both have the same bins, else the second; a scalar, 0 where no cell is sure.

    Args:
        student, teacher: of the same cells.
        tau: temperature above 0, of distributions.
    """
    confidence = teacher.score_logits.sigmoid().amax(-1).flatten()
    sure = (confidence >= SURE).nonzero().squeeze(1)
    weights = confidence[sure]
    if student.bins is not None and student.bins == teacher.bins:
        own, theirs = (view.box_values.flatten(0, 1).index_select(0, sure) for view in (student, teacher))
        by_cell = side_divergence(own, theirs, student.bins, tau)
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

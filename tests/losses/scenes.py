"""Small scenes for assigners and criteria: grids, predictions, and a slow assigner of plain loops."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ghostyolo.data.targets import Targets
from ghostyolo.models.heads.outputs import DflOutput


def grid(imgsz: int, strides: tuple[int, ...] = (8, 16, 32)) -> tuple[Tensor, Tensor]:
    """Centres (A, 2) and strides (A, 1), level by level, row by row."""
    centers, sizes = [], []
    for stride in strides:
        for row in range(imgsz // stride):
            for column in range(imgsz // stride):
                centers.append([(column + 0.5) * stride, (row + 0.5) * stride])
                sizes.append([float(stride)])
    return torch.tensor(centers), torch.tensor(sizes)


def random_output(batch: int, imgsz: int, classes: int, bins: int = 16, seed: int = 0) -> DflOutput:
    """Raw predictions without any two equal ones; leaves that want gradients."""
    generator = torch.Generator().manual_seed(seed)
    centers, strides = grid(imgsz)
    box_logits = torch.randn(batch, len(centers), 4 * bins, generator=generator) * 2
    cls_logits = torch.randn(batch, len(centers), classes, generator=generator)
    return DflOutput(box_logits.requires_grad_(), cls_logits.requires_grad_(), centers, strides)


def random_targets(counts: list[int], imgsz: int, classes: int, seed: int = 0, largest: float = 0.6) -> Targets:
    """``counts[b]`` objects in picture b, sides from 2 pixels to ``largest`` of the picture."""
    generator = torch.Generator().manual_seed(seed)
    boxes, labels = [], []
    for count in counts:
        sides = 2 + torch.rand(count, 2, generator=generator) * (largest * imgsz - 2)
        corner = torch.rand(count, 2, generator=generator) * (imgsz - sides)
        boxes.append(torch.cat((corner, corner + sides), 1))
        labels.append(torch.randint(0, classes, (count,), generator=generator))
    return Targets.from_lists(boxes, labels)


def overlap(first: list[float], second: list[float]) -> float:
    """IoU of two boxes of corners."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared + 1e-7)


def assign_slowly(
    scores: Tensor,
    boxes_xyxy: Tensor,
    centers: Tensor,
    strides: Tensor,
    targets: Targets,
    topk: int = 10,
    min_side: float = 1.0,
) -> tuple[list[list[int]], list[list[float]]]:
    """Task-aligned assignment (alpha 0.5, beta 6, IoU) as one would tell it, in float64.

    Returns, for each picture and anchor, the object's row (or -1) and the soft target (or 0).
    """
    rows, softs = [], []
    smallest = min_side * float(strides.min())
    for picture in range(len(scores)):
        taken: dict[int, list[tuple[float, float, int]]] = {}
        for row, box in enumerate(targets.boxes_xyxy[picture].double().tolist()):
            if not targets.mask[picture, row] or box[2] <= box[0] or box[3] <= box[1]:
                continue
            label = int(targets.labels[picture, row])
            reach = [max(box[2 + axis] - box[axis], smallest) / 2 for axis in range(2)]
            candidates = []
            for anchor, center in enumerate(centers.double().tolist()):
                if all(abs(center[axis] - (box[axis] + box[2 + axis]) / 2) <= reach[axis] for axis in range(2)):
                    iou = overlap(boxes_xyxy[picture, anchor].double().tolist(), box)
                    alignment = math.sqrt(float(scores[picture, anchor, label])) * iou**6
                    if alignment > 0:
                        candidates.append((-alignment, anchor, iou))
            for alignment, anchor, iou in sorted(candidates)[:topk]:
                taken.setdefault(anchor, []).append((-iou, alignment, row))
        kept = {anchor: min(wishes) for anchor, wishes in taken.items()}
        picture_rows, picture_softs = [-1] * len(centers), [0.0] * len(centers)
        for anchor, (_, alignment, row) in kept.items():
            mine = [wish for wish in kept.values() if wish[2] == row]
            best_alignment = max(-wish[1] for wish in mine)
            best_overlap = max(-wish[0] for wish in mine)
            picture_rows[anchor] = row
            picture_softs[anchor] = -alignment / best_alignment * best_overlap
        rows.append(picture_rows)
        softs.append(picture_softs)
    return rows, softs

"""Predictions of YOLOX's head for tests, and SimOTA as plain loops."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ghostyolo.data.targets import Targets
from ghostyolo.models.heads.outputs import YoloXOutput
from tests.losses.scenes import grid, overlap


def random_yolox_output(batch: int, imgsz: int, classes: int, seed: int = 0, size: float = 1.0) -> YoloXOutput:
    """Raw predictions without any two equal ones; leaves that want gradients. Boxes of about e^size strides."""
    generator = torch.Generator().manual_seed(seed)
    centers, strides = grid(imgsz)
    offsets = torch.randn(batch, len(centers), 4, generator=generator) * 0.7
    offsets[..., 2:] += size
    return YoloXOutput(
        offsets.requires_grad_(),
        torch.randn(batch, len(centers), generator=generator).requires_grad_(),
        torch.randn(batch, len(centers), classes, generator=generator).requires_grad_(),
        centers,
        strides,
    )


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def assign_simota_slowly(
    output: YoloXOutput,
    boxes_xyxy: Tensor,
    targets: Targets,
    radius: float = 2.5,
    topk: int = 10,
    iou_gain: float = 3.0,
) -> tuple[list[list[int]], list[list[float]]]:
    """SimOTA as one would tell it, in Python's numbers.

    Returns, for each picture and anchor, the object's row (or -1) and the overlap with it (or 0).
    """
    rows, overlaps = [], []
    centers, strides = output.centers.tolist(), output.strides.flatten().tolist()
    for picture in range(len(boxes_xyxy)):
        predicted = boxes_xyxy[picture].detach().double().tolist()
        cls_logits = output.cls_logits[picture].detach().double().tolist()
        obj_logits = output.obj_logits[picture].detach().double().tolist()
        objects = [
            (row, box, int(targets.labels[picture, row]))
            for row, box in enumerate(targets.boxes_xyxy[picture].double().tolist())
            if targets.mask[picture, row] and box[2] > box[0] and box[3] > box[1]
        ]

        def in_box(anchor, box):
            return all(box[axis] < centers[anchor][axis] < box[2 + axis] for axis in range(2))

        def in_middle(anchor, box):
            reach = radius * strides[anchor]
            return all(abs(centers[anchor][axis] - (box[axis] + box[2 + axis]) / 2) < reach for axis in range(2))

        candidates = [
            anchor
            for anchor in range(len(centers))
            if any(in_box(anchor, box) or in_middle(anchor, box) for _, box, _ in objects)
        ]
        wishes: dict[int, list[tuple[float, int, float]]] = {}
        for row, box, label in objects:
            costs = []
            for anchor in candidates:
                iou = overlap(predicted[anchor], box)
                cost = -iou_gain * math.log(iou + 1e-8)
                for number, logit in enumerate(cls_logits[anchor]):
                    score = math.sqrt(_sigmoid(logit) * _sigmoid(obj_logits[anchor]))
                    cost -= math.log(score if number == label else 1 - score)
                if not (in_box(anchor, box) and in_middle(anchor, box)):
                    cost += 1e5
                costs.append((cost, anchor, iou))
            best = sorted((iou for _, _, iou in costs), reverse=True)[:topk]
            for cost, anchor, iou in sorted(costs)[: max(int(sum(best)), 1)]:
                wishes.setdefault(anchor, []).append((cost, row, iou))
        picture_rows, picture_overlaps = [-1] * len(centers), [0.0] * len(centers)
        for anchor, wanted in wishes.items():
            _, picture_rows[anchor], picture_overlaps[anchor] = min(wanted)
        rows.append(picture_rows)
        overlaps.append(picture_overlaps)
    return rows, overlaps

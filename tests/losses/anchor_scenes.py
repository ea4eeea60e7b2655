"""Small scenes for the anchor criterion, and slow plain versions of its matching and of SimOTA."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ghostyolo.data.targets import Targets
from ghostyolo.models.heads.outputs import AnchorOutput

ANCHORS = torch.tensor([[[6.0, 8.0], [14.0, 9.0]], [[20.0, 26.0], [30.0, 18.0]], [[40.0, 44.0], [60.0, 50.0]]])
STRIDES = (8, 16, 32)
# object row, level, anchor, row, column
Place = tuple[int, int, int, int, int]


def random_output(batch: int, height: int, width: int, classes: int, seed: int = 0) -> AnchorOutput:
    """Raw predictions without any two equal ones; leaves that want gradients."""
    generator = torch.Generator().manual_seed(seed)
    logits = [
        torch.randn(batch, 2, 5 + classes, height // stride, width // stride, generator=generator).requires_grad_()
        for stride in STRIDES
    ]
    return AnchorOutput(logits, ANCHORS, STRIDES)


def match_slowly(targets: Targets, picture: int, height: int, width: int) -> list[Place]:
    """Matches of one picture as one would tell them: for every object, prediction by prediction."""
    found = []
    for row, box in enumerate(targets.boxes_xyxy[picture].double().tolist()):
        object_width, object_height = box[2] - box[0], box[3] - box[1]
        if not targets.mask[picture, row] or object_width <= 0 or object_height <= 0:
            continue
        for level, stride in enumerate(STRIDES):
            x, y = (box[0] + box[2]) / 2 / stride, (box[1] + box[3]) / 2 / stride
            own_column, own_row = min(int(x), width // stride - 1), min(int(y), height // stride - 1)
            for anchor, (anchor_width, anchor_height) in enumerate(ANCHORS[level].tolist()):
                ratios = (object_width / anchor_width, object_height / anchor_height)
                if max(*ratios, *(1 / ratio for ratio in ratios)) >= 4:
                    continue
                for cell_row in range(height // stride):
                    for cell_column in range(width // stride):
                        # Its own cell, or one beside it from which the centre is less than 1.5 and more than -0.5 off.
                        across, along = abs(cell_column - own_column), abs(cell_row - own_row)
                        reached = -0.5 < x - cell_column < 1.5 and -0.5 < y - cell_row < 1.5
                        if across + along == 0 or (across + along == 1 and reached):
                            found.append((row, level, anchor, cell_row, cell_column))
    return found


def predicted_box(output: AnchorOutput, picture: int, place: Place) -> tuple[float, float, float, float]:
    _, level, anchor, row, column = place
    logits = output.logits[level][picture, anchor, :4, row, column].detach().double().tolist()
    unit = [2 / (1 + math.exp(-logit)) for logit in logits]
    x, y = (unit[0] - 0.5 + column) * STRIDES[level], (unit[1] - 0.5 + row) * STRIDES[level]
    width, height = (unit[2 + axis] ** 2 * float(ANCHORS[level, anchor, axis]) for axis in (0, 1))
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def overlap(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def keep_slowly(output: AnchorOutput, targets: Targets, picture: int, places: list[Place]) -> list[Place]:
    """SimOTA among the matches of one picture."""
    costs: dict[Place, float] = {}
    chosen: list[Place] = []
    for row in sorted({place[0] for place in places}):
        mine = [place for place in places if place[0] == row]
        box, label = targets.boxes_xyxy[picture, row].double().tolist(), int(targets.labels[picture, row])
        overlaps = {place: overlap(predicted_box(output, picture, place), box) for place in mine}
        for place in mine:
            _, level, anchor, cell_row, cell_column = place
            scores = output.logits[level][picture, anchor, 4:, cell_row, cell_column].detach().double().sigmoid()
            cost = -3 * math.log(overlaps[place] + 1e-8)
            for index, score in enumerate((scores[0] * scores[1:]).sqrt().tolist()):
                cost -= math.log(score if index == label else 1 - score)
            costs[place] = cost
        count = max(int(sum(sorted(overlaps.values())[-10:])), 1)
        chosen += sorted(mine, key=costs.__getitem__)[:count]
    cheapest: dict[tuple[int, ...], Place] = {}
    for place in sorted(chosen, key=costs.__getitem__):
        cheapest.setdefault(place[1:], place)
    return sorted(cheapest.values())


def crowded_targets(counts: list[int], height: int, width: int, classes: int, seed: int = 0) -> Targets:
    """Objects of 3 to 60 pixels, some of them nearly on top of each other, some touching the border."""
    generator = torch.Generator().manual_seed(seed)
    boxes, labels = [], []
    for count in counts:
        sides = 3 + 57 * torch.rand(count, 2, generator=generator) ** 2
        room = torch.tensor([width, height]) - sides
        corner: Tensor = torch.rand(count, 2, generator=generator) * room
        boxes.append(torch.cat((corner, corner + sides), 1))
        boxes[-1][1::4] = boxes[-1][: len(boxes[-1][1::4])] + 0.5
        labels.append(torch.randint(0, classes, (count,), generator=generator))
    return Targets.from_lists(boxes, labels)

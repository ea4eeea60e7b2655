"""Which anchors match which objects."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.losses.anchor_assigner import Matches, cheapest_matches, match_by_ratio, match_costs
from tests.losses.anchor_scenes import (
    ANCHORS,
    STRIDES,
    crowded_targets,
    keep_slowly,
    match_slowly,
    overlap,
    predicted_box,
    random_output,
)  # fmt: skip


def match(boxes: list[list[float]], imgsz: int = 64, anchors=ANCHORS, strides=STRIDES) -> Matches:
    objects = torch.tensor(boxes).reshape(-1, 4)
    shapes = [(imgsz // stride, imgsz // stride) for stride in strides]
    return match_by_ratio(objects, torch.zeros(len(objects), dtype=torch.long), anchors, strides, shapes)


def cells(matches: Matches) -> list[tuple[int, int]]:
    """(row, column) of each."""
    return sorted(zip(matches.row.tolist(), matches.column.tolist(), strict=True))


ONE_LEVEL = {"anchors": torch.tensor([[[8.0, 8.0]]]), "strides": (8,)}


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (2.3, 3.4, [(2, 2), (3, 1), (3, 2)]),  # nearer to the left and upper neighbours
        (2.7, 3.6, [(3, 2), (3, 3), (4, 2)]),  # nearer to the right and lower ones
        (2.5, 3.5, [(3, 2)]),  # in the middle: there is no nearer one
        (0.2, 0.3, [(0, 0)]),  # the neighbours would lie outside
        (7.8, 7.9, [(7, 7)]),
        (3.0, 3.0, [(2, 3), (3, 2), (3, 3)]),  # on the corner of four cells: their right lower one, and two beside it
        (8.0, 4.6, [(4, 7), (5, 7)]),  # on the right border: the last column
    ],
)
def test_an_object_takes_its_cell_and_the_nearer_neighbours(x, y, expected):
    middle = [x * 8, y * 8]
    box = [middle[0] - 4, middle[1] - 4, middle[0] + 4, middle[1] + 4]
    assert cells(match([box], **ONE_LEVEL)) == expected


@pytest.mark.parametrize(("width", "height", "matches"), [(31, 8, 1), (32, 8, 0), (8, 2.1, 1), (8, 2, 0), (31, 2.1, 1)])
def test_a_ratio_of_four_is_too_much(width, height, matches):
    box = [32 + 4 - width / 2, 32 + 4 - height / 2, 32 + 4 + width / 2, 32 + 4 + height / 2]
    assert len(match([box], **ONE_LEVEL)) == matches


def test_no_objects_give_no_matches():
    matches = match([])
    assert len(matches) == 0
    assert {values.dtype for values in vars(matches).values()} == {torch.long}


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_plain_loops(seed):
    height, width = 64, 96
    targets = crowded_targets([9, 0, 14], height, width, 3, seed)
    image, row = targets.real()
    shapes = [(height // stride, width // stride) for stride in STRIDES]
    matches = match_by_ratio(targets.boxes_xyxy[image, row], image, ANCHORS, STRIDES, shapes)
    assert matches.level.tolist() == sorted(matches.level.tolist())
    expected = [(p, *place) for p in range(3) for place in match_slowly(targets, p, height, width)]
    found = zip(
        *(values.tolist() for values in (matches.image, row[matches.objects], matches.level, matches.anchor)),
        matches.row.tolist(), matches.column.tolist(), strict=True,
    )  # fmt: skip
    assert sorted(found) == sorted(expected)
    assert len(expected) > 100


@pytest.mark.parametrize("seed", range(3))
def test_the_cheapest_matches_agree_with_plain_loops(seed):
    height, width, classes = 64, 96, 3
    targets = crowded_targets([9, 0, 14], height, width, classes, seed)
    output = random_output(3, height, width, classes, seed)
    places = [match_slowly(targets, picture, height, width) for picture in range(3)]
    image, row = targets.real()
    number = {pair: index for index, pair in enumerate(zip(image.tolist(), row.tolist(), strict=True))}
    flat = [(p, *place) for p in range(3) for place in places[p]]
    columns = torch.tensor(flat).T
    matches = Matches(
        torch.tensor([number[place[:2]] for place in flat]), columns[0], *(columns[index] for index in range(2, 6))
    )
    logits = torch.stack([output.logits[level][p, a, :, y, x] for p, _, level, a, y, x in flat]).detach()
    boxes = [targets.boxes_xyxy[p, place[0]].double().tolist() for p, *place in flat]
    overlaps = torch.tensor(
        [overlap(predicted_box(output, p, tuple(place)), box) for (p, *place), box in zip(flat, boxes, strict=True)]
    )
    costs = match_costs(logits, targets.labels[image, row][matches.objects], overlaps)
    kept = cheapest_matches(matches, costs, overlaps, len(number))
    expected = [(p, *place) for p in range(3) for place in keep_slowly(output, targets, p, places[p])]
    assert sorted(flat[index] for index in kept.tolist()) == expected
    assert kept.tolist() == sorted(kept.tolist())
    assert 0 < len(kept) < len(flat) / 2


def one_prediction_each(objects: list[int], predictions: list[int]) -> Matches:
    zeros = torch.zeros(len(objects), dtype=torch.long)
    return Matches(
        torch.tensor(objects, dtype=torch.long), zeros, zeros, zeros, zeros, torch.tensor(predictions).long()
    )


def test_an_object_keeps_as_many_as_its_overlaps_add_up_to():
    matches = one_prediction_each([0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 4, 5])
    overlaps = torch.tensor([0.9, 0.7, 0.5, 0.0, 0.2, 0.1])  # 2.1 and 0.3
    costs = torch.tensor([4.0, 3.0, 2.0, 1.0, 9.0, 8.0])
    assert cheapest_matches(matches, costs, overlaps, 2).tolist() == [2, 3, 5]


def test_only_the_ten_best_overlaps_count():
    matches = one_prediction_each([0] * 16, list(range(16)))
    kept = cheapest_matches(matches, torch.arange(16.0), torch.full((16,), 0.75), 1)
    assert kept.tolist() == list(range(7))  # 7.5, not 12


def test_a_prediction_goes_to_the_object_it_is_cheapest_for():
    matches = one_prediction_each([0, 0, 1, 1], [0, 1, 1, 2])
    overlaps = torch.full((4,), 0.6)  # each keeps one
    assert cheapest_matches(matches, torch.tensor([5.0, 3.0, 2.0, 4.0]), overlaps, 2).tolist() == [2]
    assert cheapest_matches(matches, torch.tensor([5.0, 2.0, 2.0, 4.0]), overlaps, 2).tolist() == [1]


def test_no_matches_and_predictions_that_are_no_numbers_are_borne():
    assert cheapest_matches(one_prediction_each([], []), torch.zeros(0), torch.zeros(0), 0).tolist() == []
    matches = one_prediction_each([0, 0], [0, 1])
    nan = torch.full((2,), float("nan"))
    assert cheapest_matches(matches, nan, nan, 1).tolist() == [0]


def test_costs_by_hand():
    # Class scores 0.5 and 0.9, objectness 0.8; the object is of class 1 and overlaps by a half.
    logits = torch.tensor([[0.0, 0, 0, 0, 0.8, 0.5, 0.9]])
    logits[0, 4:] = torch.logit(logits[0, 4:])
    expected = (
        -torch.log(1 - torch.tensor(0.4).sqrt())
        - torch.log(torch.tensor(0.72).sqrt())
        - 3 * torch.log(torch.tensor(0.5))
    )
    cost = match_costs(logits, torch.tensor([1]), torch.tensor([0.5]))
    assert cost.item() == pytest.approx(expected.item(), rel=1e-5)
    certain = match_costs(torch.full((1, 7), 200.0), torch.tensor([0]), torch.tensor([0.0]))
    assert certain.isfinite().all()

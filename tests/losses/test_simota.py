"""SimOTA: scenes by hand, and a slow assigner of plain loops as reference."""

from __future__ import annotations

import math

import pytest
import torch

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError, DataError
from ghostyolo.losses.simota import SimOtaAssigner
from ghostyolo.nn.boxes import decode_offsets
from tests.losses.scenes import grid, random_targets
from tests.losses.simota_scenes import assign_simota_slowly, random_yolox_output


def assign(assigner, output, boxes, targets):
    return assigner(output.cls_logits, output.obj_logits, boxes, output.centers, output.strides, targets)


def decoded(output):
    return decode_offsets(output.centers, output.box_offsets.detach(), output.strides)


def scene(boxes, objects, labels, centers=None, strides=None, classes=2):
    """Assign with equal class scores: the cost is the overlap's alone."""
    if centers is None:
        centers, strides = grid(64, (8,))
    targets = Targets.from_lists([torch.tensor(objects)], [torch.tensor(labels)])
    count = len(centers)
    boxes = boxes if torch.is_tensor(boxes) else torch.tensor(boxes)
    return SimOtaAssigner()(
        torch.zeros(1, count, classes), torch.zeros(1, count), boxes.expand(1, count, 4), centers, strides, targets
    )


@pytest.mark.parametrize("options", [{}, {"topk": 3}, {"radius": 1.5, "iou_gain": 1.0}], ids=["default", "k", "radius"])
@pytest.mark.parametrize("largest", [0.2, 0.9], ids=["small", "crowd"])
def test_agrees_with_the_slow_assigner(largest, options):
    output = random_yolox_output(3, 96, 4)
    targets = random_targets([12, 0, 5], 96, 4, largest=largest)
    boxes = decoded(output)
    assigner = SimOtaAssigner(**{{"radius": "center_radius"}.get(key, key): value for key, value in options.items()})
    assigned = assign(assigner, output, boxes, targets)
    rows, overlaps = assign_simota_slowly(output, boxes, targets, **options)

    assert assigned.object_index.tolist() == rows
    torch.testing.assert_close(assigned.cls_targets.sum(-1), torch.tensor(overlaps), rtol=1e-4, atol=1e-6)
    assert torch.equal(assigned.foreground, assigned.object_index >= 0)
    assert assigned.foreground.sum() > 10
    for picture, anchor in assigned.foreground.nonzero().tolist():
        row = rows[picture][anchor]
        assert torch.equal(assigned.boxes_xyxy[picture, anchor], targets.boxes_xyxy[picture, row])
        others = [c for c in range(4) if c != targets.labels[picture, row]]
        assert assigned.cls_targets[picture, anchor, others].sum() == 0
    background = ~assigned.foreground
    assert assigned.boxes_xyxy[background].abs().sum() == 0
    assert assigned.cls_targets[background].abs().sum() == 0


def test_an_object_takes_as_many_anchors_as_its_best_overlaps_sum_to():
    # Four cells predict the object itself, the rest boxes far away: the sum of the ten best is 4.
    boxes = torch.tensor([500.0, 500, 510, 510]).repeat(64, 1)
    inside = [27, 28, 35, 36]
    boxes[inside] = torch.tensor([16.0, 16, 48, 48])
    assigned = scene(boxes, [[16.0, 16.0, 48.0, 48.0]], [1])
    assert assigned.foreground[0].nonzero().flatten().tolist() == inside
    assert assigned.cls_targets[0, 27].tolist() == pytest.approx([0, 1])


def test_an_object_that_nothing_overlaps_takes_one_anchor_in_its_middle():
    assigned = scene([500.0, 500, 510, 510], [[16.0, 16.0, 40.0, 40.0]], [0])
    # Nine cells of equal cost lie in box and square: the first of them.
    assert assigned.foreground[0].nonzero().flatten().tolist() == [2 * 8 + 2]
    assert assigned.cls_targets.sum() == 0


def test_a_cell_in_box_and_middle_is_preferred_to_better_ones_outside():
    # A long object: the cell at its end is in the box, but not within 2.5 strides of the middle.
    centers, strides = torch.tensor([[4.0, 4.0], [36.0, 4.0]]), torch.full((2, 1), 8.0)
    boxes = torch.tensor([[0.0, 0.0, 64.0, 8.0], [30.0, 0.0, 42.0, 8.0]])
    assigned = scene(boxes, [[0.0, 0.0, 64.0, 8.0]], [0], centers, strides)
    assert assigned.object_index.tolist() == [[-1, 0]]


def test_what_is_left_over_is_taken_from_outside():
    centers, strides = torch.tensor([[4.0, 4.0], [36.0, 4.0], [60.0, 4.0]]), torch.full((3, 1), 8.0)
    boxes = torch.tensor([[0.0, 0.0, 64.0, 8.0], [0.0, 0.0, 64.0, 8.0], [32.0, 0.0, 64.0, 8.0]])
    # Overlaps 1, 1 and 1/2: two anchors, the one in the middle and the better of the others.
    assert scene(boxes, [[0.0, 0.0, 64.0, 8.0]], [0], centers, strides).object_index.tolist() == [[0, 0, -1]]


def test_a_cell_near_the_middle_but_outside_a_tiny_object_is_a_candidate():
    # 2 x 2 pixels between the cell centres: no centre lies in it.
    assigned = scene([30.0, 30, 34, 34], [[31.0, 31.0, 33.0, 33.0]], [0])
    assert assigned.foreground.sum() == 2  # ten boxes of IoU 1/4 sum to 2.5
    assert assigned.cls_targets.max().item() == pytest.approx(0.25)


def test_a_contested_anchor_goes_to_the_object_that_it_costs_least():
    centers, strides = torch.tensor([[4.0, 4.0]]), torch.tensor([[8.0]])
    wide_and_exact = [[0.0, 0.0, 8.0, 16.0], [0.0, 0.0, 8.0, 8.0]]
    assigned = scene([0.0, 0.0, 8.0, 8.0], wide_and_exact, [0, 1], centers, strides)
    assert assigned.object_index.tolist() == [[1]]
    twins = scene([0.0, 0.0, 8.0, 8.0], [wide_and_exact[1]] * 2, [1, 1], centers, strides)
    assert twins.object_index.tolist() == [[0]]  # of equals, the lower object


def test_class_and_objectness_are_part_of_the_cost():
    centers, strides = torch.tensor([[4.0, 4.0], [12.0, 4.0]]), torch.full((2, 1), 8.0)
    targets = Targets.from_lists([torch.tensor([[0.0, 0.0, 16.0, 8.0]])], [torch.tensor([1])])
    boxes = torch.tensor([[2.0, 0.0, 10.0, 8.0], [6.0, 0.0, 14.0, 8.0]]).unsqueeze(0)
    even = torch.zeros(1, 2, 2)

    def winner(cls_logits, obj_logits):
        assigned = SimOtaAssigner()(cls_logits, obj_logits, boxes, centers, strides, targets)
        return assigned.foreground[0].nonzero().flatten().tolist()

    assert winner(even, torch.zeros(1, 2)) == [0]  # equal overlaps: the lower anchor
    assert winner(torch.tensor([[[0.0, 0.0], [0.0, 3.0]]]), torch.zeros(1, 2)) == [1]
    assert winner(torch.tensor([[[3.0, 0.0], [0.0, 0.0]]]), torch.zeros(1, 2)) == [1]
    assert winner(torch.tensor([[[-9.0, 0.0], [-9.0, 0.0]]]), torch.tensor([[0.0, 3.0]])) == [1]


def test_extreme_scores_cost_finite_numbers():
    output = random_yolox_output(1, 64, 3)
    boxes, targets = decoded(output), random_targets([6], 64, 3)
    output.cls_logits = torch.where(output.cls_logits > 0, 1e4, -1e4)
    output.obj_logits = torch.full_like(output.obj_logits, 1e4)
    assert assign(SimOtaAssigner(), output, boxes, targets).foreground.sum() >= 4


def test_objects_without_area_or_out_of_reach_are_left_out():
    objects = [[10.0, 10.0, 10.0, 30.0], [30.0, 10.0, 20.0, 40.0], [190.0, 190.0, 199.0, 199.0]]
    assert not scene([0.0, 0.0, 64.0, 64.0], objects, [0, 0, 0]).foreground.any()


@pytest.mark.parametrize("objects", [0, 3], ids=["M = 0", "all padding"])
def test_pictures_without_objects_are_background(objects):
    output = random_yolox_output(2, 64, 3)
    targets = Targets(
        torch.rand(2, objects, 4), torch.full((2, objects), 99), torch.zeros(2, objects, dtype=torch.bool)
    )
    assigned = assign(SimOtaAssigner(), output, decoded(output), targets)
    assert not assigned.foreground.any()
    assert assigned.cls_targets.shape == (2, 84, 3)
    assert assigned.cls_targets.sum() == 0
    assert (assigned.object_index == -1).all()


def test_the_same_picture_is_assigned_the_same_in_any_batch():
    output = random_yolox_output(2, 96, 3)
    targets, boxes = random_targets([4, 20], 96, 3), decoded(output)
    together = assign(SimOtaAssigner(), output, boxes, targets)
    alone = SimOtaAssigner()(
        output.cls_logits[:1], output.obj_logits[:1], boxes[:1], output.centers, output.strides,
        Targets(targets.boxes_xyxy[:1, :4], targets.labels[:1, :4], targets.mask[:1, :4]),
    )  # fmt: skip
    assert torch.equal(together.object_index[:1], alone.object_index)
    assert torch.equal(together.cls_targets[:1], alone.cls_targets)
    assert not together.cls_targets.requires_grad


def test_a_prediction_that_is_not_a_number_is_not_chosen_where_others_are():
    output = random_yolox_output(1, 64, 3)
    boxes = decoded(output)
    boxes[0, 27] = math.nan
    assigned = assign(SimOtaAssigner(), output, boxes, random_targets([5], 64, 3))
    assert assigned.foreground.any()
    assert not assigned.foreground[0, 27]
    assert assigned.cls_targets.isfinite().all()


@pytest.mark.parametrize("label", [3, ~3], ids=["object", "region"])
def test_a_label_beyond_the_classes_is_named(label):
    output = random_yolox_output(1, 64, 3)
    targets = Targets.from_lists([torch.tensor([[0.0, 0.0, 30.0, 30.0]])], [torch.tensor([label])])
    with pytest.raises(DataError, match=r"label 3 in the targets: the model's classes are 0\.\.2"):
        assign(SimOtaAssigner(), output, decoded(output), targets)


@pytest.mark.parametrize(
    "options",
    [{"topk": 0}, {"center_radius": 0.0}, {"iou_gain": float("nan")}],
    ids=lambda options: next(iter(options)),
)
def test_impossible_options_are_named(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        SimOtaAssigner(**options)


def test_more_objects_than_fit_one_table_are_assigned_as_in_one(monkeypatch):
    output = random_yolox_output(2, 96, 4)
    targets = random_targets([40, 7], 96, 4, largest=0.3)
    whole = assign(SimOtaAssigner(), output, decoded(output), targets)
    monkeypatch.setattr("ghostyolo.losses.simota._TABLE_SIZE", 500)
    parts = assign(SimOtaAssigner(), output, decoded(output), targets)
    assert torch.equal(parts.object_index, whole.object_index)
    torch.testing.assert_close(parts.cls_targets, whole.cls_targets)


def test_predictions_that_are_not_numbers_are_assigned_so_that_the_loss_shows_them():
    output = random_yolox_output(1, 64, 2)
    targets = random_targets([3], 64, 2)
    boxes = decoded(output)
    output.cls_logits = torch.full_like(output.cls_logits, torch.nan)
    assert assign(SimOtaAssigner(), output, boxes, targets).foreground.any()

"""Task-aligned assignment: scenes by hand, and a slow assigner of plain loops as reference."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError, DataError
from ghostyolo.losses.task_aligned import TaskAlignedAssigner
from ghostyolo.nn.boxes import decode_distances, expected_distance
from tests.losses.scenes import assign_slowly, grid, random_output, random_targets


def squares_around(centers, strides, reach=2.0):
    """(1, A, 4) predictions that reach so many strides to each side."""
    return decode_distances(centers, torch.full((1, len(centers), 4), reach), strides)


def one_object(box, label=0):
    return Targets.from_lists([torch.tensor([box])], [torch.tensor([label])])


def decoded(output):
    distances = expected_distance(output.box_logits.detach(), 16)
    return decode_distances(output.centers, distances, output.strides)


@pytest.mark.parametrize("topk", [1, 10, 13])
@pytest.mark.parametrize("largest", [0.2, 0.9], ids=["small", "crowd"])
def test_agrees_with_the_slow_assigner(topk, largest):
    output = random_output(3, 96, 4, seed=topk)
    targets = random_targets([12, 0, 5], 96, 4, seed=topk, largest=largest)
    boxes = decoded(output)
    assigned = TaskAlignedAssigner(topk=topk)(output.cls_logits, boxes, output.centers, output.strides, targets)
    scores = output.cls_logits.detach().sigmoid()
    rows, softs = assign_slowly(scores, boxes, output.centers, output.strides, targets, topk=topk)

    assert assigned.object_index.tolist() == rows
    torch.testing.assert_close(assigned.cls_targets.sum(-1), torch.tensor(softs), rtol=1e-4, atol=1e-6)
    assert torch.equal(assigned.foreground, assigned.object_index >= 0)
    assert assigned.foreground.sum() > 5
    for picture, anchor in assigned.foreground.nonzero().tolist():
        row = rows[picture][anchor]
        assert torch.equal(assigned.boxes_xyxy[picture, anchor], targets.boxes_xyxy[picture, row])
        assert assigned.cls_targets[picture, anchor].argmax() == targets.labels[picture, row]
    background = ~assigned.foreground
    assert assigned.boxes_xyxy[background].abs().sum() == 0
    assert assigned.cls_targets[background].abs().sum() == 0
    assert ((assigned.cls_targets > 0).sum(-1) <= 1).all()


def test_perfect_prediction_gets_the_target_one():
    centers, strides = grid(32, (8,))
    boxes = squares_around(centers, strides, reach=0.5)
    assigned = TaskAlignedAssigner()(torch.zeros(1, 16, 2), boxes, centers, strides, one_object([8, 8, 16, 16], 1))
    assert assigned.foreground.nonzero().tolist() == [[0, 5]]
    assert assigned.cls_targets[0, 5].tolist() == pytest.approx([0, 1])


def test_soft_targets_by_hand():
    # One row of two cells; the object covers both, each predicts its own half, scores 1/2 and 1/8.
    centers, strides = torch.tensor([[4.0, 4.0], [12.0, 4.0]]), torch.full((2, 1), 8.0)
    logits = torch.tensor([[[0.5], [0.125]]]).logit()
    boxes = torch.tensor([[[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]]])
    assigned = TaskAlignedAssigner()(logits, boxes, centers, strides, one_object([0.0, 0.0, 16.0, 8.0]))
    # Equal overlaps: alignments differ by sqrt(1/8) / sqrt(1/2) = 1/2; the best gets the overlap itself.
    assert assigned.cls_targets.flatten().tolist() == pytest.approx([0.5, 0.25])


def test_the_score_of_the_objects_own_class_counts():
    centers, strides = grid(32, (8,))
    logits = torch.full((1, 16, 2), -3.0)
    logits[0, 6, 0] = 5  # sure of the wrong class
    logits[0, 10, 1] = 5
    assigner = TaskAlignedAssigner(topk=1)
    boxes = torch.tensor([4.0, 4.0, 28.0, 28.0]).expand(1, 16, 4)
    assigned = assigner(logits, boxes, centers, strides, one_object([4.0, 4.0, 28.0, 28.0], 1))
    assert assigned.foreground.nonzero().tolist() == [[0, 10]]


def test_of_equal_candidates_the_lower_anchors_are_taken():
    centers, strides = grid(64, (8,))
    boxes = torch.tensor([0.0, 0.0, 64.0, 64.0]).expand(1, 64, 4)
    assigned = TaskAlignedAssigner()(torch.zeros(1, 64, 1), boxes, centers, strides, one_object([0.0, 0.0, 64.0, 64.0]))
    assert assigned.foreground[0].nonzero().flatten().tolist() == list(range(10))


def test_a_contested_anchor_goes_to_the_object_it_overlaps_most():
    centers, strides = torch.tensor([[4.0, 4.0]]), torch.tensor([[8.0]])
    targets = Targets.from_lists([torch.tensor([[0.0, 0.0, 8.0, 16.0], [0.0, 0.0, 8.0, 8.0]])], [torch.tensor([0, 1])])
    # Sure of class 0, but the box is that of the second object.
    logits = torch.tensor([[[9.0, -2.0]]])
    assigned = TaskAlignedAssigner()(logits, torch.tensor([[[0.0, 0.0, 8.0, 8.0]]]), centers, strides, targets)
    assert assigned.object_index.tolist() == [[1]]
    assert assigned.cls_targets.flatten().tolist() == pytest.approx([0, 1])


def test_of_equal_overlaps_the_better_aligned_then_the_lower_object_wins():
    centers, strides = torch.tensor([[4.0, 4.0]]), torch.tensor([[8.0]])
    box = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    targets = Targets.from_lists([box.repeat(3, 1)], [torch.tensor([0, 1, 1])])
    logits = torch.tensor([[[-1.0, 1.0]]])
    assigned = TaskAlignedAssigner()(logits, box[None], centers, strides, targets)
    assert assigned.object_index.tolist() == [[1]]


def test_touching_objects_share_the_anchor_on_their_border_with_neither_losing_its_own():
    centers, strides = torch.tensor([[4.0, 4.0], [8.0, 4.0], [12.0, 4.0]]), torch.full((3, 1), 8.0)
    targets = Targets.from_lists([torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]])], [torch.tensor([0, 0])])
    boxes = torch.tensor([[[0.0, 0.0, 8.0, 8.0], [5.0, 0.0, 13.0, 8.0], [8.0, 0.0, 16.0, 8.0]]])
    assigned = TaskAlignedAssigner()(torch.zeros(1, 3, 1), boxes, centers, strides, targets)
    assert assigned.object_index.tolist() == [[0, 1, 1]]


def test_an_object_between_the_centres_is_widened_to_one_cell():
    centers, strides = grid(64)
    tiny = one_object([8.5, 16.5, 10.5, 19.5])  # cell (1, 2) of stride 8, whose centre is (12, 20)
    boxes = squares_around(centers, strides)
    logits = torch.zeros(1, len(centers), 1)
    assigned = TaskAlignedAssigner()(logits, boxes, centers, strides, tiny)
    assert assigned.foreground.nonzero().tolist() == [[0, 2 * 8 + 1]]
    assert assigned.boxes_xyxy[0, 17].tolist() == [8.5, 16.5, 10.5, 19.5]
    assert not TaskAlignedAssigner(min_side=0)(logits, boxes, centers, strides, tiny).foreground.any()


def test_every_tiny_object_in_the_picture_has_an_anchor():
    centers, strides = grid(64)
    generator = torch.Generator().manual_seed(0)
    for middle in (torch.rand(200, 2, generator=generator) * 64).tolist():
        tiny = one_object([middle[0] - 0.5, middle[1] - 0.5, middle[0] + 0.5, middle[1] + 0.5])
        assigned = TaskAlignedAssigner()(
            torch.zeros(1, len(centers), 1), squares_around(centers, strides), centers, strides, tiny
        )
        assert assigned.foreground.any(), middle


def test_a_tiny_object_that_is_barely_overlapped_keeps_its_whole_target():
    # IoU 1 / 900: to the power of 6 it is 2e-18, and a division with an eps would lose it.
    centers, strides = torch.tensor([[16.0, 16.0]]), torch.tensor([[32.0]])
    boxes = torch.tensor([[[1.0, 1.0, 31.0, 31.0]]])
    assigned = TaskAlignedAssigner()(
        torch.zeros(1, 1, 1), boxes, centers, strides, one_object([16.0, 16.0, 17.0, 17.0])
    )
    assert assigned.cls_targets.item() == pytest.approx(1 / 900)


def test_objects_without_area_or_outside_the_picture_are_left_out():
    centers, strides = grid(64)
    boxes = torch.tensor(
        [[10.0, 10.0, 10.0, 30.0], [30.0, 10.0, 20.0, 40.0], [5.0, 5.0, 5.0, 5.0], [90.0, 90.0, 99.0, 99.0]]
    )
    targets = Targets.from_lists([boxes], [torch.zeros(4, dtype=torch.long)])
    assigned = TaskAlignedAssigner()(
        torch.zeros(1, len(centers), 1), squares_around(centers, strides), centers, strides, targets
    )
    assert not assigned.foreground.any()
    assert assigned.cls_targets.sum() == 0


def test_a_prediction_that_does_not_overlap_is_no_candidate():
    centers, strides = torch.tensor([[4.0, 4.0]]), torch.tensor([[8.0]])
    boxes = torch.tensor([[[20.0, 20.0, 30.0, 30.0]]])
    assigned = TaskAlignedAssigner()(torch.zeros(1, 1, 1), boxes, centers, strides, one_object([0.0, 0.0, 8.0, 8.0]))
    assert not assigned.foreground.any()


def test_ciou_counts_as_zero_where_it_is_negative():
    # A 2 x 60 object in a 60 x 60 prediction: IoU 1/30, and an aspect penalty above it.
    centers, strides = torch.tensor([[30.0, 30.0]]), torch.tensor([[8.0]])
    boxes, thin = torch.tensor([[[0.0, 0.0, 60.0, 60.0]]]), one_object([29.0, 0.0, 31.0, 60.0])
    logits = torch.zeros(1, 1, 1)
    assert not TaskAlignedAssigner(overlap="ciou")(logits, boxes, centers, strides, thin).foreground.any()
    assert TaskAlignedAssigner()(logits, boxes, centers, strides, thin).foreground.all()


@pytest.mark.parametrize("objects", [0, 3], ids=["M = 0", "all padding"])
def test_pictures_without_objects_are_background(objects):
    output = random_output(2, 64, 3)
    targets = Targets(
        torch.rand(2, objects, 4),
        torch.full((2, objects), 99),
        torch.zeros(2, objects, dtype=torch.bool),
    )
    assigned = TaskAlignedAssigner()(output.cls_logits, decoded(output), output.centers, output.strides, targets)
    assert not assigned.foreground.any()
    assert assigned.cls_targets.shape == (2, 84, 3)
    assert assigned.cls_targets.sum() == 0
    assert (assigned.object_index == -1).all()


def test_the_same_picture_is_assigned_the_same_in_any_batch():
    output = random_output(2, 96, 3)
    targets = random_targets([4, 20], 96, 3)
    boxes = decoded(output)
    assigner = TaskAlignedAssigner()
    together = assigner(output.cls_logits, boxes, output.centers, output.strides, targets)
    first = Targets(targets.boxes_xyxy[:1, :4], targets.labels[:1, :4], targets.mask[:1, :4])
    alone = assigner(output.cls_logits[:1], boxes[:1], output.centers, output.strides, first)
    assert torch.equal(together.object_index[:1], alone.object_index)
    assert torch.equal(together.cls_targets[:1], alone.cls_targets)


def test_predictions_get_no_gradient():
    output = random_output(1, 64, 3)
    boxes = decoded(output).requires_grad_()
    assigned = TaskAlignedAssigner()(
        output.cls_logits, boxes, output.centers, output.strides, random_targets([3], 64, 3)
    )
    assert not assigned.cls_targets.requires_grad
    assert not assigned.boxes_xyxy.requires_grad


@pytest.mark.parametrize("label", [3, ~3], ids=["object", "region"])
def test_a_label_beyond_the_classes_is_named(label):
    output = random_output(1, 64, 3)
    targets = one_object([0.0, 0.0, 30.0, 30.0], label)
    with pytest.raises(DataError, match=r"label 3 in the targets: the model's classes are 0\.\.2"):
        TaskAlignedAssigner()(output.cls_logits, decoded(output), output.centers, output.strides, targets)


@pytest.mark.parametrize(
    "options",
    [{"topk": 0}, {"alpha": -1.0}, {"beta": float("nan")}, {"min_side": -0.5}, {"overlap": "giou"}],
    ids=lambda options: next(iter(options)),
)
def test_impossible_options_are_named(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        TaskAlignedAssigner(**options)


def test_many_small_objects_and_one_large_take_memory_for_their_pairs_alone():
    # A mask of all objects and anchors, or a table as wide as the largest object, would have 134 million entries.
    output = random_output(1, 640, 2)
    targets = random_targets([16_000], 640, 2, largest=0.01)
    targets.boxes_xyxy[0, 0] = torch.tensor([0.0, 0.0, 640.0, 640.0])
    boxes = decoded(output)
    sizes = []
    with LargestTensor(sizes):
        assigned = TaskAlignedAssigner()(output.cls_logits, boxes, output.centers, output.strides, targets)
    assert assigned.foreground.sum() > 1000
    assert max(sizes) < 1_000_000


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of every tensor that is made."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.sizes += [part.numel() for part in tree_leaves(result) if isinstance(part, torch.Tensor)]
        return result

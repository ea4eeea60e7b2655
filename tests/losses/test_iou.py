"""Overlap of aligned box pairs."""

import math

import pytest
import torch
from torchvision import ops

from ghostyolo.errors import ConfigError
from ghostyolo.losses.iou import iou_aligned

KINDS = ["iou", "giou", "ciou"]


def random_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 50
    return torch.cat((corner, corner + 1 + torch.rand(count, 2, generator=generator) * 50), 1)


def test_half_shifted_squares_by_hand():
    first, second = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]])
    # Intersection 2, union 6, hull 3 x 2 without a gap, centres 1 apart on a diagonal of 9 + 4.
    assert iou_aligned(first, second).item() == pytest.approx(1 / 3)
    assert iou_aligned(first, second, "giou").item() == pytest.approx(1 / 3)
    assert iou_aligned(first, second, "ciou").item() == pytest.approx(1 / 3 - 1 / 13)


def test_crossed_boxes_pay_for_their_aspect_by_hand():
    wide, tall = torch.tensor([[0.0, 1.0, 3.0, 2.0]]), torch.tensor([[1.0, 0.0, 2.0, 3.0]])
    iou = 1 / 5
    aspect = 4 / math.pi**2 * (math.atan(3) - math.atan(1 / 3)) ** 2
    expected = iou - aspect**2 / (1 - iou + aspect)
    assert iou_aligned(wide, tall, "ciou").item() == pytest.approx(expected)
    assert iou_aligned(wide, tall, "giou").item() == pytest.approx(iou - 4 / 9)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_boxes_overlap_fully(kind):
    boxes = random_boxes(5, 0)
    torch.testing.assert_close(iou_aligned(boxes, boxes, kind), torch.ones(5, dtype=torch.float64))


# Centres 3 apart; hull 4 x 1, so 2 of its 4 are empty and its diagonal squared is 17.
@pytest.mark.parametrize(("kind", "expected"), [("iou", 0), ("giou", -0.5), ("ciou", -9 / 17)])
def test_distant_boxes_by_hand(kind, expected):
    first, second = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[3.0, 0.0, 4.0, 1.0]])
    assert iou_aligned(first, second, kind).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "pairwise"),
    [("iou", ops.box_iou), ("giou", ops.generalized_box_iou), ("ciou", ops.complete_box_iou)],
    ids=KINDS,
)
def test_agrees_with_torchvision(kind, pairwise):
    first, second = random_boxes(200, 1), random_boxes(200, 2)
    torch.testing.assert_close(iou_aligned(first, second, kind), pairwise(first, second).diagonal(), atol=1e-6, rtol=0)


def test_ciou_gradient_agrees_with_torchvision():
    first, second = random_boxes(100, 3), random_boxes(100, 4)
    ours, theirs = first.clone().requires_grad_(), first.clone().requires_grad_()
    (1 - iou_aligned(ours, second, "ciou")).sum().backward()
    ops.complete_box_iou_loss(theirs, second, reduction="sum").backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["iou", "giou"])
def test_gradient_is_the_derivative(kind):
    first, second = random_boxes(10, 5).requires_grad_(), random_boxes(10, 6)
    assert torch.autograd.gradcheck(lambda boxes: iou_aligned(boxes, second, kind), (first,))


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_without_area_stay_finite_in_value_and_gradient(kind):
    point = torch.tensor([[5.0, 5.0, 5.0, 5.0]] * 3, requires_grad=True)
    others = torch.tensor([[5.0, 5.0, 5.0, 5.0], [0.0, 0.0, 9.0, 9.0], [5.0, 0.0, 5.0, 9.0]])
    overlap = iou_aligned(point, others, kind)
    overlap.sum().backward()
    assert overlap.isfinite().all()
    assert point.grad.isfinite().all()
    assert (overlap <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_before_areas_overflow(kind, dtype):
    first = torch.tensor([[0.0, 0.0, 512.0, 512.0]], dtype=dtype)
    second = torch.tensor([[256.0, 0.0, 768.0, 512.0]], dtype=dtype)
    overlap = iou_aligned(first, second, kind)
    assert overlap.dtype == torch.float32
    torch.testing.assert_close(overlap, iou_aligned(first.float(), second.float(), kind))


@pytest.mark.parametrize("kind", KINDS)
def test_no_boxes_give_no_overlaps(kind):
    assert iou_aligned(torch.zeros(0, 4), torch.zeros(0, 4), kind).shape == (0,)


def test_unknown_kind_names_the_nearest():
    with pytest.raises(ConfigError, match="'cious' is unknown: did you mean ciou"):
        iou_aligned(torch.zeros(0, 4), torch.zeros(0, 4), "cious")

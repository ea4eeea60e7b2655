"""The criterion of the distribution head."""

import math

import pytest
import torch
from torchvision.ops import complete_box_iou_loss

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError
from ghostyolo.losses.dfl import DflCriterion
from ghostyolo.models.heads.outputs import DflOutput
from ghostyolo.nn.boxes import decode_distances, expected_distance
from tests.losses.scenes import assign_slowly, grid, random_output, random_targets

PARTS = ("box", "cls", "dfl")


def permuted(targets, seed):
    order = torch.randperm(targets.labels.shape[1], generator=torch.Generator().manual_seed(seed))
    return Targets(targets.boxes_xyxy[:, order], targets.labels[:, order], targets.mask[:, order])


def test_one_cell_by_hand():
    # A cell at (8, 8) of stride 8 whose uniform bins 0..3 predict 1.5 strides, the box -4..20; the object
    # reaches 1 stride, 0..16, so IoU is 256 / 576 and, centres and aspects being equal, CIoU as well.
    output = DflOutput(torch.zeros(1, 1, 16), torch.zeros(1, 1, 2), torch.tensor([[8.0, 8.0]]), torch.tensor([[8.0]]))
    targets = Targets.from_lists([torch.tensor([[0.0, 0.0, 16.0, 16.0]])], [torch.tensor([1])])
    losses = DflCriterion(2, bins=4)(output, targets)
    iou = 256 / 576  # also the soft target; their sum is below 1, so the divisor is 1
    assert losses["box"].item() == pytest.approx(7.5 * iou * (1 - iou), rel=1e-5)
    assert losses["cls"].item() == pytest.approx(0.5 * 2 * math.log(2), rel=1e-5)
    assert losses["dfl"].item() == pytest.approx(1.5 * iou * math.log(4), rel=1e-5)
    assert losses["loss"].item() == pytest.approx(sum(losses[part].item() for part in PARTS), rel=1e-6)


def test_agrees_with_a_plain_computation_on_random_scenes():
    output, targets = random_output(2, 64, 3), random_targets([6, 9], 64, 3)
    losses = DflCriterion(3)(output, targets)

    sides = output.box_logits.detach().double().view(2, -1, 4, 16)
    reach = (sides.softmax(-1) * torch.arange(16.0)).sum(-1) * output.strides
    boxes = torch.cat((output.centers - reach[..., :2], output.centers + reach[..., 2:]), -1)
    rows, softs = assign_slowly(output.cls_logits.detach().sigmoid(), boxes, output.centers, output.strides, targets)
    total = max(sum(map(sum, softs)), 1)
    dfl, soft_targets = 0.0, torch.zeros(2, len(output.centers), 3)
    for picture in range(2):
        for anchor, (row, soft) in enumerate(zip(rows[picture], softs[picture], strict=True)):
            if row < 0:
                continue
            soft_targets[picture, anchor, targets.labels[picture, row]] = soft
            box, center = targets.boxes_xyxy[picture, row], output.centers[anchor]
            distances = torch.cat((center - box[:2], box[2:] - center)) / output.strides[anchor]
            for side, distance in enumerate(distances.clamp(0, 14.99).tolist()):
                log_p, lower = sides[picture, anchor, side].log_softmax(-1), int(distance)
                share = distance - lower
                dfl -= soft * float((1 - share) * log_p[lower] + share * log_p[lower + 1]) / 4
    probabilities = output.cls_logits.detach().sigmoid()
    cls = -(soft_targets * probabilities.log() + (1 - soft_targets) * (1 - probabilities).log()).sum()
    assert losses["dfl"].item() == pytest.approx(1.5 * dfl / total, rel=1e-4)
    assert losses["cls"].item() == pytest.approx(0.5 * cls.item() / total, rel=1e-4)
    assert losses["loss"].item() == pytest.approx(2 * sum(losses[part].item() for part in PARTS), rel=1e-6)


def test_perfect_predictions_cost_almost_nothing():
    centers, strides = grid(64, (8,))
    box_logits, cls_logits = torch.full((1, 64, 4, 16), -50.0), torch.full((1, 64, 2), -50.0)
    # The cells at (28, 28) .. (36, 36) lie in a 16 x 16 object; each side is half a stride or 1.5.
    targets = Targets.from_lists([torch.tensor([[24.0, 24.0, 40.0, 40.0]])], [torch.tensor([1])])
    for cell in (27, 28, 35, 36):
        reach = torch.cat((centers[cell] - 24, 40 - centers[cell])) / 8
        for side, distance in enumerate(reach.tolist()):
            box_logits[0, cell, side, int(distance)] = 0
            box_logits[0, cell, side, int(distance) + 1] = 0
        cls_logits[0, cell, 1] = 50
    losses = DflCriterion(2)(DflOutput(box_logits.flatten(2), cls_logits, centers, strides), targets)
    assert losses["box"].item() == pytest.approx(0, abs=1e-4)
    assert losses["cls"].item() == pytest.approx(0, abs=1e-4)
    assert losses["dfl"].item() == pytest.approx(1.5 * math.log(2), rel=1e-4)  # the entropy of two bins


@pytest.mark.parametrize("objects", [0, 2], ids=["M = 0", "all padding"])
def test_a_batch_without_objects_teaches_background_only(objects):
    output = random_output(2, 64, 3)
    targets = Targets(
        torch.zeros(2, objects, 4),
        torch.zeros(2, objects, dtype=torch.long),
        torch.zeros(2, objects, dtype=torch.bool),
    )
    losses = DflCriterion(3)(output, targets)
    losses["loss"].backward()
    assert losses["box"].item() == 0
    assert losses["dfl"].item() == 0
    assert losses["cls"].item() > 0
    assert output.box_logits.grad.abs().sum() == 0
    assert (output.cls_logits.grad > 0).all()  # each probability is pushed down


def test_order_and_padding_of_the_objects_do_not_matter():
    targets = random_targets([7, 0, 12], 96, 3, largest=0.9)
    padded = Targets(
        torch.cat((targets.boxes_xyxy, torch.full((3, 5, 4), 40.0)), 1),
        torch.cat((targets.labels, torch.full((3, 5), -7)), 1),
        torch.cat((targets.mask, torch.zeros(3, 5, dtype=torch.bool)), 1),
    )
    results = []
    for variant in (targets, padded, permuted(targets, 0), permuted(padded, 1)):
        output = random_output(3, 96, 3)
        losses = DflCriterion(3)(output, variant)
        losses["loss"].backward()
        results.append((*losses.values(), output.box_logits.grad, output.cls_logits.grad))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


def test_gradient_is_the_derivative():
    # Without CIoU, whose detached weight makes its gradient another: see the next test.
    output, targets = random_output(1, 32, 2, bins=4), random_targets([2], 32, 2, largest=0.9)
    output = DflOutput(*(tensor.detach().double() for tensor in vars(output).values()))
    distances = expected_distance(output.box_logits, 4)
    boxes = decode_distances(output.centers, distances, output.strides)
    criterion = DflCriterion(2, bins=4, box_gain=0.0)
    assigned = criterion.assigner(output.cls_logits, boxes, output.centers, output.strides, targets)
    assert assigned.foreground.any()
    criterion.assigner = lambda *_: assigned  # the assignment jumps; the loss given it does not

    def loss(box_logits, cls_logits):
        return criterion(DflOutput(box_logits, cls_logits, output.centers, output.strides), targets)["loss"]

    assert torch.autograd.gradcheck(loss, (output.box_logits.requires_grad_(), output.cls_logits.requires_grad_()))


def test_box_part_and_its_gradient_are_torchvisions_ciou_loss_of_the_foreground():
    output, targets = random_output(2, 64, 3), random_targets([6, 9], 64, 3)
    distances = expected_distance(output.box_logits, 16)
    boxes = decode_distances(output.centers, distances, output.strides)
    criterion = DflCriterion(3, cls_gain=0, dfl_gain=0)
    assigned = criterion.assigner(output.cls_logits, boxes.detach(), output.centers, output.strides, targets)
    on = assigned.foreground
    apart = complete_box_iou_loss(boxes[on], assigned.boxes_xyxy[on])
    expected = 7.5 * (apart * assigned.cls_targets[on].sum(-1)).sum() / assigned.cls_targets.sum().clamp(min=1)

    losses = criterion(output, targets)
    assert losses["box"].item() == pytest.approx(expected.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(losses["loss"], output.box_logits)
    (expected_gradient,) = torch.autograd.grad(2 * expected, output.box_logits)
    assert gradient.abs().max() > 1e-3
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_compute_in_float32(dtype):
    wide, targets = random_output(2, 64, 3), random_targets([3, 5], 64, 3)
    narrow = DflOutput(
        wide.box_logits.detach().to(dtype).requires_grad_(),
        wide.cls_logits.detach().to(dtype).requires_grad_(),
        wide.centers,
        wide.strides,
    )
    rounded = DflOutput(
        narrow.box_logits.detach().float(), narrow.cls_logits.detach().float(), wide.centers, wide.strides
    )
    with torch.autocast("cpu", torch.bfloat16):
        losses = DflCriterion(3)(narrow, targets)
    losses["loss"].backward()
    for key, value in DflCriterion(3)(rounded, targets).items():
        assert losses[key].dtype == torch.float32
        torch.testing.assert_close(losses[key], value)
    assert narrow.box_logits.grad.dtype == dtype
    assert narrow.box_logits.grad.isfinite().all()


def test_following_the_gradient_finds_the_objects():
    centers, strides = grid(64)
    output = DflOutput(
        torch.zeros(1, len(centers), 64, requires_grad=True),
        torch.full((1, len(centers), 2), -4.0).requires_grad_(),
        centers,
        strides,
    )
    # One of them smaller than a cell and between the centres.
    targets = Targets.from_lists(
        [torch.tensor([[4.0, 6.0, 30.0, 40.0], [49.0, 49.0, 55.5, 55.0]])], [torch.tensor([0, 1])]
    )
    criterion = DflCriterion(2)
    optimizer = torch.optim.Adam([output.box_logits, output.cls_logits], lr=0.2)
    for _ in range(100):
        optimizer.zero_grad()
        losses = criterion(output, targets)
        losses["loss"].backward()
        optimizer.step()
    scores = output.cls_logits.sigmoid()
    for row, label in ((0, 0), (1, 1)):
        best = scores[0, :, label].argmax()
        reach = output.box_logits[0, best].view(4, 16).softmax(-1) @ torch.arange(16.0) * strides[best]
        box = torch.cat((centers[best] - reach[:2], centers[best] + reach[2:]))
        assert scores[0, best, label] > 0.8
        torch.testing.assert_close(box, targets.boxes_xyxy[0, row], atol=1.0, rtol=0)


def test_a_prediction_that_is_not_a_number_shows_in_the_loss():
    output, targets = random_output(1, 64, 3), random_targets([2], 64, 3)
    with torch.no_grad():
        output.box_logits[0, 5, 7] = float("nan")
    assert DflCriterion(3)(output, targets)["loss"].isnan()


def test_a_head_that_does_not_fit_is_named():
    targets = random_targets([1], 64, 3)
    with pytest.raises(ConfigError, match="expects 5 classes and 4 x 16 box logits, the head gave 3 and 64"):
        DflCriterion(5)(random_output(1, 64, 3), targets)
    with pytest.raises(ConfigError, match="expects 3 classes and 4 x 8 box logits"):
        DflCriterion(3, bins=8)(random_output(1, 64, 3), targets)
    with pytest.raises(ConfigError, match="not 0 classes"):
        DflCriterion(0)


def test_the_criterion_holds_no_state():
    assert not DflCriterion(3).state_dict()
    assert not list(DflCriterion(3).parameters())


def test_classes_that_the_labels_do_not_know_are_no_background():
    output, targets = random_output(2, 64, 3), random_targets([6, 9], 64, 3)
    targets.labels.clamp_(max=1)
    whole = DflCriterion(3)(output, targets)
    targets.known = torch.tensor([[True, True, False], [True, True, True]])
    partial = DflCriterion(3)(output, targets)
    assert partial["box"] == whole["box"]
    assert partial["dfl"] == whole["dfl"]
    gradients = torch.autograd.grad(partial["loss"], output.cls_logits)[0]
    assert (gradients[0, :, 2] == 0).all()
    assert (gradients[1, :, 2] != 0).all()
    assert (gradients[:, :, :2] != 0).all()


def test_all_classes_known_is_the_usual_loss():
    output, targets = random_output(2, 64, 3), random_targets([6, 9], 64, 3)
    whole = DflCriterion(3)(output, targets)["loss"]
    targets.known = torch.ones(2, 3, dtype=torch.bool)
    assert DflCriterion(3)(output, targets)["loss"] == whole

"""The criterion of YOLOX's head."""

from __future__ import annotations

import math

import pytest
import torch

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError
from ghostyolo.losses.registry import FollowsEpochs, build_criterion
from ghostyolo.losses.yolox import YoloXCriterion
from ghostyolo.models.heads.outputs import YoloXOutput
from ghostyolo.models.heads.yolox import YoloXHead
from ghostyolo.nn.boxes import decode_offsets
from tests.losses.scenes import grid, overlap, random_targets
from tests.losses.simota_scenes import assign_simota_slowly, random_yolox_output

PARTS = ("iou", "obj", "cls", "l1")


def in_last_epochs(classes: int) -> YoloXCriterion:
    criterion = YoloXCriterion(classes)
    criterion.begin_epoch(9, 10, 1)
    return criterion


def copied(output: YoloXOutput, dtype: torch.dtype) -> YoloXOutput:
    tensors = {name: tensor.detach() for name, tensor in vars(output).items()}
    for name in ("box_offsets", "obj_logits", "cls_logits"):
        tensors[name] = tensors[name].to(dtype).requires_grad_()
    return YoloXOutput(**tensors)


def test_one_cell_by_hand():
    # A cell at (8, 8) of stride 16 that predicts its own square moved by 4 pixels, 4..20 x 0..16; the object is 0..16:
    # IoU = 12 x 16 / (2 x 256 - 192) = 0.6.
    output = YoloXOutput(
        torch.tensor([[[0.75, 0.5, 0.0, 0.0]]]),
        torch.tensor([[0.0]]),
        torch.tensor([[[0.0, math.log(3)]]]),
        torch.tensor([[8.0, 8.0]]),
        torch.tensor([[16.0]]),
    )
    targets = Targets.from_lists([torch.tensor([[0.0, 0.0, 16.0, 16.0]])], [torch.tensor([1])])
    losses = in_last_epochs(2)(output, targets)
    assert losses["iou"].item() == pytest.approx(5 * (1 - 0.6**2), rel=1e-5)
    assert losses["obj"].item() == pytest.approx(math.log(2), rel=1e-5)
    # Class 0: target 0 at probability 1/2; class 1: target 0.6 at probability 3/4.
    cls = math.log(2) - 0.6 * math.log(3 / 4) - 0.4 * math.log(1 / 4)
    assert losses["cls"].item() == pytest.approx(cls, rel=1e-5)
    assert losses["l1"].item() == pytest.approx(0.25, rel=1e-5)
    assert losses["loss"].item() == pytest.approx(sum(losses[part].item() for part in PARTS), rel=1e-6)


def test_agrees_with_a_plain_computation_on_random_scenes():
    output, targets = random_yolox_output(2, 64, 3), random_targets([6, 9], 64, 3)
    losses = in_last_epochs(3)(output, targets)

    boxes = decode_offsets(output.centers, output.box_offsets.detach(), output.strides)
    rows, overlaps = assign_simota_slowly(output, boxes, targets)
    count = sum(row >= 0 for picture in rows for row in picture)
    assert count > 15
    expected = dict.fromkeys(PARTS, 0.0)

    def cross_entropy(logit: float, target: float) -> float:
        probability = 1 / (1 + math.exp(-logit))
        return -target * math.log(probability) - (1 - target) * math.log(1 - probability)

    for picture in range(2):
        for anchor, (row, iou) in enumerate(zip(rows[picture], overlaps[picture], strict=True)):
            expected["obj"] += cross_entropy(float(output.obj_logits[picture, anchor].detach()), float(row >= 0))
            if row < 0:
                continue
            box = targets.boxes_xyxy[picture, row].tolist()
            assert overlap(boxes[picture, anchor].tolist(), box) == pytest.approx(iou, rel=1e-5)
            expected["iou"] += 5 * (1 - iou**2)
            for number, logit in enumerate(output.cls_logits[picture, anchor].tolist()):
                expected["cls"] += cross_entropy(logit, iou if number == targets.labels[picture, row] else 0.0)
            stride = float(output.strides[anchor])
            corner = [float(value) / stride - 0.5 for value in output.centers[anchor]]
            true = [(box[axis] + box[2 + axis]) / 2 / stride - corner[axis] for axis in range(2)]
            true += [math.log((box[2 + axis] - box[axis]) / stride) for axis in range(2)]
            raw = output.box_offsets[picture, anchor].tolist()
            expected["l1"] += sum(abs(mine - theirs) for mine, theirs in zip(raw, true, strict=True))
    for part in PARTS:
        assert losses[part].item() == pytest.approx(expected[part] / count, rel=1e-4), part
    assert losses["loss"].item() == pytest.approx(2 * sum(losses[part].item() for part in PARTS), rel=1e-6)


def test_l1_begins_when_mosaic_ends():
    criterion = YoloXCriterion(3)
    assert isinstance(criterion, FollowsEpochs)
    output, targets = random_yolox_output(1, 64, 3), random_targets([4], 64, 3)
    assert criterion(output, targets)["l1"] == 0
    shown = []
    for epoch in range(4):
        criterion.begin_epoch(epoch, 4, 2)
        shown.append(criterion(output, targets)["l1"].item() > 0)
    assert shown == [False, False, True, True]
    criterion.begin_epoch(3, 4, 0)
    assert criterion(output, targets)["l1"] == 0


@pytest.mark.parametrize("objects", [0, 2], ids=["M = 0", "all padding"])
def test_a_batch_without_objects_teaches_objectness_only(objects):
    output = random_yolox_output(2, 64, 3)
    targets = Targets(
        torch.zeros(2, objects, 4),
        torch.zeros(2, objects, dtype=torch.long),
        torch.zeros(2, objects, dtype=torch.bool),
    )
    losses = in_last_epochs(3)(output, targets)
    losses["loss"].backward()
    assert [losses[part].item() for part in ("iou", "cls", "l1")] == [0, 0, 0]
    assert losses["obj"].item() > 0
    assert (output.obj_logits.grad > 0).all()
    assert output.box_offsets.grad.abs().sum() == 0
    assert output.cls_logits.grad.abs().sum() == 0


def test_gradient_is_the_derivative():
    output, targets = copied(random_yolox_output(1, 32, 2), torch.float64), random_targets([2], 32, 2, largest=0.9)
    criterion = in_last_epochs(2)
    boxes = decode_offsets(output.centers, output.box_offsets, output.strides)
    assigned = criterion.assigner(output.cls_logits, output.obj_logits, boxes, output.centers, output.strides, targets)
    assert assigned.foreground.sum() == 2
    criterion.assigner = lambda *_: assigned  # the assignment jumps; the loss given it does not

    def loss(box_offsets, obj_logits, cls_logits):
        changed = YoloXOutput(box_offsets, obj_logits, cls_logits, output.centers, output.strides)
        return criterion(changed, targets)["loss"]

    assert torch.autograd.gradcheck(loss, (output.box_offsets, output.obj_logits, output.cls_logits))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_compute_in_float32(dtype):
    narrow, targets = copied(random_yolox_output(2, 64, 3), dtype), random_targets([3, 5], 64, 3)
    with torch.autocast("cpu", torch.bfloat16):
        losses = in_last_epochs(3)(narrow, targets)
    losses["loss"].backward()
    for key, value in in_last_epochs(3)(copied(narrow, torch.float32), targets).items():
        assert losses[key].dtype == torch.float32
        torch.testing.assert_close(losses[key], value)
    for tensor in (narrow.box_offsets, narrow.obj_logits, narrow.cls_logits):
        assert tensor.grad.dtype == dtype
        assert tensor.grad.isfinite().all()


def test_gradients_are_finite_for_tiny_and_far_objects():
    output = random_yolox_output(1, 96, 2)
    objects = torch.tensor([[40.0, 40.0, 40.01, 40.01], [-50.0, -50.0, 200.0, 200.0], [95.0, 0.0, 96.0, 96.0]])
    losses = in_last_epochs(2)(output, Targets.from_lists([objects], [torch.tensor([0, 1, 1])]))
    losses["loss"].backward()
    assert losses["loss"].isfinite()
    assert all(tensor.grad.isfinite().all() for tensor in (output.box_offsets, output.obj_logits, output.cls_logits))


def test_following_the_gradient_finds_the_objects():
    centers, strides = grid(64)
    output = YoloXOutput(
        torch.zeros(1, len(centers), 4, requires_grad=True),
        torch.full((1, len(centers)), -4.0, requires_grad=True),
        torch.full((1, len(centers), 2), -4.0, requires_grad=True),
        centers,
        strides,
    )
    # One of them smaller than a cell and between the centres.
    targets = Targets.from_lists(
        [torch.tensor([[4.0, 6.0, 30.0, 40.0], [49.0, 49.0, 55.5, 55.0]])], [torch.tensor([0, 1])]
    )
    criterion = in_last_epochs(2)
    optimizer = torch.optim.Adam([output.box_offsets, output.obj_logits, output.cls_logits], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        criterion(output, targets)["loss"].backward()
        optimizer.step()
    scores = output.obj_logits.sigmoid().unsqueeze(-1) * output.cls_logits.sigmoid()
    boxes = decode_offsets(centers, output.box_offsets.detach(), strides)
    for row, label in ((0, 0), (1, 1)):
        best = scores[0, :, label].argmax()
        assert scores[0, best, label] > 0.8
        torch.testing.assert_close(boxes[0, best], targets.boxes_xyxy[0, row], atol=1.0, rtol=0)


def test_a_prediction_that_is_not_a_number_shows_in_the_loss():
    output, targets = random_yolox_output(1, 64, 3), random_targets([2], 64, 3)
    with torch.no_grad():
        output.box_offsets[0, 5, 2] = float("nan")
    assert YoloXCriterion(3)(output, targets)["loss"].isnan()


def test_a_head_that_does_not_fit_is_named():
    with pytest.raises(ConfigError, match="expects 5 classes, the head gave 3"):
        YoloXCriterion(5)(random_yolox_output(1, 64, 3), random_targets([1], 64, 3))
    with pytest.raises(ConfigError, match="1 class at least, not 0"):
        YoloXCriterion(0)


def test_it_is_built_from_the_head_and_holds_no_state():
    head = YoloXHead(in_channels=(8,), strides=(8,), num_classes=3, width=0.0625)
    criterion = build_criterion("yolox", head)
    assert (criterion.num_classes, criterion.parts) == (3, PARTS)
    assert not criterion.state_dict()

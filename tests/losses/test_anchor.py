"""The criterion of the anchor head."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import complete_box_iou_loss

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError, DataError
from ghostyolo.losses.anchor import AnchorCriterion
from ghostyolo.losses.registry import build_criterion
from ghostyolo.models import build_model
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.heads.outputs import AnchorOutput
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

PARTS = ("box", "obj", "cls")
both_ways = pytest.mark.parametrize("assign", ["ratio", "ota"])


def nothing(batch: int) -> Targets:
    return Targets.from_lists([torch.zeros(0, 4)] * batch, [torch.zeros(0).long()] * batch)


def test_one_cell_by_hand():
    """A picture of one 64 px cell and one anchor of 20 x 40; the object is 20 x 20, in the middle."""
    output = AnchorOutput([torch.zeros(1, 1, 7, 1, 1)], torch.tensor([[[20.0, 40.0]]]), (64,))
    targets = Targets.from_lists([torch.tensor([[22.0, 22.0, 42.0, 42.0]])], [torch.tensor([1])])
    losses = AnchorCriterion(2)(output, targets)
    # The prediction is the anchor: IoU 1/2, equal centres; CIoU also has v = 4/pi^2 (atan 1 - atan 1/2)^2.
    aspect = 4 / math.pi**2 * (math.atan(1) - math.atan(0.5)) ** 2
    ciou = 0.5 - aspect**2 / (0.5 + aspect)
    assert losses["box"].item() == pytest.approx(3 * 0.05 * (1 - ciou), rel=1e-5)
    # Every probability is a half, so each cross entropy is log 2 whatever its target; one level of weight 4.
    assert losses["obj"].item() == pytest.approx(3 * 4 * math.log(2) * (64 / 640) ** 2, rel=1e-5)
    assert losses["cls"].item() == pytest.approx(3 * 0.5 * math.log(2) * 2 / 80, rel=1e-5)
    assert losses["loss"].item() == pytest.approx(sum(losses[part].item() for part in PARTS), rel=1e-6)


@both_ways
def test_agrees_with_a_plain_computation_on_random_scenes(assign):
    height, width, classes = 64, 96, 3
    targets = crowded_targets([9, 0, 14], height, width, classes)
    output = random_output(3, height, width, classes)
    losses = AnchorCriterion(classes, assign)(output, targets)

    box_losses, cls_losses = [[], [], []], [[], [], []]
    taught = [torch.zeros_like(logits[:, :, 4]) for logits in output.logits]
    for picture in range(3):
        places = match_slowly(targets, picture, height, width)
        if assign == "ota":
            places = keep_slowly(output, targets, picture, places)
        for place in places:
            row, level, anchor, cell_row, cell_column = place
            box = predicted_box(output, picture, place)
            true = targets.boxes_xyxy[picture, row].double()
            box_losses[level].append(complete_box_iou_loss(torch.tensor([box]).double(), true[None]).item())
            at = picture, anchor, cell_row, cell_column
            taught[level][at] = max(float(taught[level][at]), overlap(box, true.tolist()))
            scores = output.logits[level][picture, anchor, 5:, cell_row, cell_column].detach().double().sigmoid()
            hits = [s if index == targets.labels[picture, row] else 1 - s for index, s in enumerate(scores.tolist())]
            cls_losses[level].append(-sum(map(math.log, hits)) / classes)
    obj = 0.0
    for logits, target, weight in zip(output.logits, taught, (4.0, 1.0, 0.4), strict=True):
        score = logits[:, :, 4].detach().double().sigmoid()
        obj -= weight * (target * score.log() + (1 - target) * (1 - score).log()).mean().item()
    expected = {
        "box": 0.05 * sum(sum(level) / len(level) for level in box_losses if level),
        "obj": obj * height * width / 640**2,
        "cls": 0.5 * classes / 80 * sum(sum(level) / len(level) for level in cls_losses if level),
    }
    for part in PARTS:
        assert losses[part].item() == pytest.approx(expected[part], rel=1e-4), part
    assert losses["loss"].item() == pytest.approx(3 * sum(expected.values()), rel=1e-4)


@both_ways
@pytest.mark.parametrize("padding", [0, 2], ids=["M = 0", "all padding"])
def test_a_batch_without_objects_teaches_background_only(assign, padding):
    output = random_output(2, 64, 64, 3)
    targets = Targets(
        torch.zeros(2, padding, 4),
        torch.zeros(2, padding, dtype=torch.long),
        torch.zeros(2, padding, dtype=torch.bool),
    )
    losses = AnchorCriterion(3, assign)(output, targets)
    losses["loss"].backward()
    assert (losses["box"].item(), losses["cls"].item()) == (0, 0)
    assert losses["obj"].item() > 0
    for logits in output.logits:
        assert (logits.grad[:, :, 4] > 0).all()  # each objectness is pushed down
        assert logits.grad[:, :, :4].abs().sum() == logits.grad[:, :, 5:].abs().sum() == 0


@both_ways
def test_objects_that_no_anchor_fits_and_objects_without_area_are_background(assign):
    targets = Targets.from_lists(
        [torch.tensor([[10.0, 10.0, 11.0, 10.5], [20.0, 20.0, 20.0, 40.0]])], [torch.tensor([0, 1])]
    )
    output = random_output(1, 64, 64, 2)
    losses = AnchorCriterion(2, assign)(output, targets)
    empty = AnchorCriterion(2, assign)(output, nothing(1))
    for key, value in losses.items():
        torch.testing.assert_close(value, empty[key])


@both_ways
def test_order_and_padding_of_the_objects_do_not_matter(assign):
    targets = crowded_targets([7, 0, 12], 64, 96, 3)
    order = torch.randperm(targets.labels.shape[1], generator=torch.Generator().manual_seed(0))
    padded = Targets(
        torch.cat((targets.boxes_xyxy, torch.full((3, 5, 4), 40.0)), 1)[:, [*order.tolist(), *range(12, 17)]],
        torch.cat((targets.labels, torch.full((3, 5), -7)), 1)[:, [*order.tolist(), *range(12, 17)]],
        torch.cat((targets.mask, torch.zeros(3, 5, dtype=torch.bool)), 1)[:, [*order.tolist(), *range(12, 17)]],
    )
    results = []
    for variant in (targets, padded):
        output = random_output(3, 64, 96, 3)
        losses = AnchorCriterion(3, assign)(output, variant)
        losses["loss"].backward()
        results.append((*losses.values(), *(logits.grad for logits in output.logits)))
    torch.testing.assert_close(*results)


@both_ways
def test_half_precision_and_autocast_compute_in_float32(assign):
    targets = crowded_targets([5, 6], 64, 64, 3)
    narrow = random_output(2, 64, 64, 3)
    narrow.logits = [logits.detach().bfloat16().requires_grad_() for logits in narrow.logits]
    rounded = AnchorOutput([logits.detach().float() for logits in narrow.logits], ANCHORS, STRIDES)
    with torch.autocast("cpu", torch.bfloat16):
        losses = AnchorCriterion(3, assign)(narrow, targets)
    losses["loss"].backward()
    for key, value in AnchorCriterion(3, assign)(rounded, targets).items():
        assert losses[key].dtype == torch.float32
        torch.testing.assert_close(losses[key], value)
    assert all(logits.grad.isfinite().all() for logits in narrow.logits)


@both_ways
def test_gradients_are_finite_at_extreme_predictions(assign):
    targets = crowded_targets([8], 64, 64, 2)
    for extreme in (-80.0, 80.0):
        logits = [torch.full((1, 2, 7, 64 // s, 64 // s), extreme).requires_grad_() for s in STRIDES]
        losses = AnchorCriterion(2, assign)(AnchorOutput(logits, ANCHORS, STRIDES), targets)
        losses["loss"].backward()
        assert losses["loss"].isfinite()
        assert all(level.grad.isfinite().all() for level in logits)


def test_gradient_of_objectness_and_classes_is_the_derivative():
    # Without boxes: the IoU that objectness learns is a target and no path for gradients.
    targets = crowded_targets([3], 32, 32, 2)
    output = random_output(1, 32, 32, 2)
    boxes = [logits.detach().double()[:, :, :4] for logits in output.logits]

    def loss(*scores):
        logits = [torch.cat(pair, 2) for pair in zip(boxes, scores, strict=True)]
        return AnchorCriterion(2)(AnchorOutput(logits, ANCHORS, STRIDES), targets)["loss"]

    scores = [logits.detach().double()[:, :, 4:].requires_grad_() for logits in output.logits]
    assert torch.autograd.gradcheck(loss, scores)


def test_with_one_class_there_is_no_class_loss():
    output = random_output(1, 64, 64, 1)
    losses = AnchorCriterion(1)(output, crowded_targets([6], 64, 64, 1))
    losses["loss"].backward()
    assert losses["cls"].item() == 0
    assert losses["box"].item() > 0
    assert all(logits.grad[:, :, 5].abs().sum() == 0 for logits in output.logits)


def test_a_prediction_that_is_not_a_number_shows():
    output = random_output(1, 64, 64, 2)
    with torch.no_grad():
        for logits in output.logits:
            logits.fill_(float("nan"))
    for assign in ("ratio", "ota"):
        assert AnchorCriterion(2, assign)(output, crowded_targets([5], 64, 64, 2))["loss"].isnan()


def test_wrong_input_is_refused():
    output = random_output(1, 64, 64, 2)
    with pytest.raises(ConfigError, match="expects 3 classes, the head gave 2"):
        AnchorCriterion(3)(output, nothing(1))
    with pytest.raises(DataError, match=r"label 2 in the targets.*0..1"):
        AnchorCriterion(2)(output, crowded_targets([30], 64, 64, 3))
    with pytest.raises(ConfigError, match="1 class at least"):
        AnchorCriterion(0)
    with pytest.raises(ConfigError, match="'otta' of the criterion is unknown: did you mean ota"):
        AnchorCriterion(2, "otta")
    six = AnchorOutput([torch.zeros(1, 1, 7, 1, 1)] * 6, torch.ones(6, 1, 2), (8, 16, 32, 64, 128, 256))
    with pytest.raises(ConfigError, match="at most five levels, got 6"):
        AnchorCriterion(2)(six, nothing(1))


@pytest.mark.parametrize(("backbone", "neck", "assign"), [("yolov5", "yolov5_pafpn", "ratio"),
                                                          ("yolov7", "yolov7_elan", "ota")])  # fmt: skip
def test_a_tiny_detector_learns_four_pictures_by_heart(backbone, neck, assign):
    torch.manual_seed(0)
    parts = {
        "backbone": {"type": backbone, "width": 0.125},
        "neck": {"type": neck, "width": 0.125},
        "head": {"type": "anchor", "assign": assign},
    }
    model = build_model(DetectorConfig.from_dict(parts, "test"), num_classes=2).train()
    criterion = build_criterion("anchor", model.head)
    images = torch.full((4, 3, 64, 64), 0.5)
    boxes = torch.tensor([[6, 8, 26, 40], [30, 20, 58, 44], [12, 30, 36, 58], [4, 4, 60, 34]]).float()
    labels = torch.tensor([0, 1, 1, 0])
    for image, (x1, y1, x2, y2), label in zip(images, boxes.int().tolist(), labels, strict=True):
        image[:, y1:y2, x1:x2] = torch.tensor([0.9, 0.1, 0.1] if label else [0.1, 0.9, 0.2])[:, None, None]
    targets = Targets.from_lists(list(boxes[:, None]), list(labels[:, None]))
    optimizer = torch.optim.Adam(model.parameters())
    losses, steps = [], 200
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.005 * (1 - step / steps)
        optimizer.zero_grad()
        loss = criterion(model(images), targets)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
    # By the pictures' own statistics: at a momentum of 0.03 the running ones are far behind so short a training.
    with torch.no_grad():
        found, scores = model.head.decode(model(images))
    for picture in range(4):
        best = scores[picture].amax(1).argmax()
        assert overlap(found[picture, best].tolist(), boxes[picture].tolist()) > 0.9
        assert scores[picture, best].argmax() == labels[picture]
        assert scores[picture, best].max() > 0.6

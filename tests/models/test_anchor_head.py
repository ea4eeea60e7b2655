"""The anchor head: decoding, priors, anchors of its own."""

from __future__ import annotations

import math

import pytest
import torch

from ghostyolo.errors import ConfigError
from ghostyolo.models import build_model
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.default_anchors import default_anchors
from ghostyolo.models.heads.anchor import AnchorHead

ANCHORS = [[[10.0, 20.0], [30.0, 8.0]], [[50.0, 60.0], [90.0, 40.0]]]


def head(classes: int = 3, **params) -> AnchorHead:
    torch.manual_seed(0)
    return AnchorHead(in_channels=(4, 6), strides=(8, 16), num_classes=classes, **params)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_one_box_by_hand():
    """All logits are 0 but at column 2, row 1 of the second level, anchor 0: every sigmoid else is one half."""
    ours = head(anchors=ANCHORS).eval()
    output = ours.collect([torch.zeros(1, 4, 4, 6), torch.zeros(1, 6, 2, 3)])
    output.logits = [torch.zeros_like(logits) for logits in output.logits]
    raw = [0.4, -0.2, 0.3, -0.5, 1.0, 2.0, -1.0, 0.5]
    output.logits[1][0, 0, :, 1, 2] = torch.tensor(raw)
    boxes, scores = ours.decode(output)
    first = 2 * 4 * 6  # anchors x cells of the level before
    place = first + 1 * 3 + 2
    x, y = ((2 * sigmoid(raw[axis]) - 0.5 + cell) * 16 for axis, cell in ((0, 2), (1, 1)))
    width, height = ((2 * sigmoid(raw[2 + axis])) ** 2 * ANCHORS[1][0][axis] for axis in (0, 1))
    expected = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    assert boxes[0, place].tolist() == pytest.approx(expected, rel=1e-5)
    assert scores[0, place].tolist() == pytest.approx([sigmoid(1.0) * sigmoid(t) for t in (2.0, -1.0, 0.5)], rel=1e-5)
    # Half everywhere: the middle of the cell, the anchor's own size. Second anchor, row 3, column 5 of the first level.
    assert boxes[0, 4 * 6 + 3 * 6 + 5].tolist() == [44 - 15, 28 - 4, 44 + 15, 28 + 4]
    assert scores[0, 0].tolist() == [0.25] * 3


def test_centres_reach_half_a_cell_beyond_and_sizes_four_anchors():
    ours = head(anchors=ANCHORS).eval()
    output = ours.collect([torch.zeros(1, 4, 1, 1), torch.zeros(1, 6, 1, 1)])
    for sign, reach, size in ((50.0, 1.5, 4.0), (-50.0, -0.5, 0.0)):
        output.logits = [torch.full_like(logits, sign) for logits in output.logits]
        boxes, _ = ours.decode(output)
        center = (boxes[..., :2] + boxes[..., 2:]) / 2
        assert center[0].tolist() == [pytest.approx([reach * stride] * 2) for stride in (8, 8, 16, 16)]
        sides = boxes[..., 2:] - boxes[..., :2]
        flat = torch.tensor(ANCHORS).reshape(-1, 2)
        torch.testing.assert_close(sides[0], flat * size, atol=1e-4, rtol=1e-5)


def test_priors_are_eight_objects_a_picture_and_six_tenths_over_the_classes():
    for layer, stride in zip(head(7).predict, (8, 16), strict=True):
        bias = layer.bias.detach().view(3, 12)
        assert bias[:, 4].exp().tolist() == pytest.approx([8 / (640 / stride) ** 2] * 3, rel=1e-5)
        assert bias[:, 5:].exp().flatten().tolist() == pytest.approx([0.6 / 6] * 21, rel=1e-3)


def test_the_score_of_one_class_is_its_objectness():
    ours = head(1).eval()
    _, scores = ours([torch.zeros(1, 4, 2, 2), torch.zeros(1, 6, 1, 1)])
    expected = [sigmoid(math.log(8 / (640 / stride) ** 2)) for stride in (8,) * 12 + (16,) * 3]
    assert scores.flatten().tolist() == pytest.approx(expected, rel=1e-4)


def test_default_anchors_are_cocos_and_other_strides_are_in_proportion():
    finest, coarse = default_anchors((8, 32))
    assert finest == [[10, 13], [16, 30], [33, 23]]
    assert coarse == [[116, 90], [156, 198], [373, 326]]
    assert default_anchors((4, 64)) == [
        [[5, 6.5], [8, 15], [16.5, 11.5]],
        [[232, 180], [312, 396], [746, 652]],
    ]


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        ([[[10, 20]]], "1 lists for 2 levels"),
        ([[[10, 20]], [[10, 20], [30, 40]]], "every level needs as many, at least one, and these have 1, 2"),
        ([[], []], "every level needs as many"),
        ([[[10, 20]], [[10]]], r"\[10.0\] is not \[width, height\]"),
        ([[[10, 20]], [[10, 0]]], "two sizes above 0"),
        ([[[10, 20]], [[10, float("nan")]]], "two sizes above 0"),
        ([10, 13, 16, 30], "is not one list a level"),
        ("10,13", "is not one list a level"),
    ],
)
def test_anchors_that_are_none_are_refused(anchors, message):
    with pytest.raises(ConfigError, match=message):
        head(anchors=anchors)


def test_an_unknown_assignment_is_refused():
    with pytest.raises(ConfigError, match="assign 'otta' is unknown: did you mean ota"):
        head(assign="otta")


def test_other_anchors_change_the_boxes_but_not_their_number():
    ours = head(anchors=ANCHORS).eval()
    features = [torch.rand(1, 4, 4, 4), torch.rand(1, 6, 2, 2)]
    boxes, scores = ours(features)
    ours.set_anchors([[[2 * side for side in anchor] for anchor in level] for level in ANCHORS])
    doubled, same = ours(features)
    torch.testing.assert_close(doubled[..., 2:] - doubled[..., :2], 2 * (boxes[..., 2:] - boxes[..., :2]))
    assert torch.equal(scores, same)
    with pytest.raises(ConfigError, match="2 anchors a level, 1 were given"):
        ours.set_anchors([[[1, 1]], [[2, 2]]])


def test_anchors_come_from_the_declaration_and_not_from_the_weights():
    parts = {"backbone": {"type": "yolov5", "width": 0.125}, "neck": {"type": "yolov5_pafpn", "width": 0.125}}
    anchors = [[[4, 5]], [[20, 30]], [[90, 80]]]
    config = DetectorConfig.from_dict({**parts, "head": {"type": "anchor", "anchors": anchors}}, "test")
    model = build_model(config, num_classes=2)
    assert model.head.anchors.tolist() == anchors
    assert not [name for name in model.state_dict() if "anchors" in name]
    boxes, _ = model.eval()(torch.zeros(1, 3, 32, 32))
    assert boxes.shape == (1, 16 + 4 + 1, 4)


def test_half_precision_features_give_boxes_in_float32():
    ours = head(anchors=ANCHORS).bfloat16().eval()
    boxes, scores = ours([torch.rand(1, 4, 4, 4).bfloat16(), torch.rand(1, 6, 2, 2).bfloat16()])
    assert (boxes.dtype, scores.dtype) == (torch.float32, torch.float32)

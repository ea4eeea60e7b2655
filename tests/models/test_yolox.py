"""YOLOX is the published network by its parameters and FLOPs; its names, and what its head gives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ghostyolo.models import build_model
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.models.heads.yolox import YoloXHead
from ghostyolo.models.names import zoo_config
from ghostyolo.nn.reparam import fold

# Parameters (M) and FLOPs (G) at this side, as printed; then FLOPs = 2 x MACs of the folded network by our count. The
# published figures are twice the operations of the network before folding, where a batch norm counts two for each
# number that it writes: 3 % of nano, 0.4 % of s.
PUBLISHED = {
    "yolox-nano": (416, 0.91, 1.08, 1.045),
    "yolox-tiny": (416, 5.06, 6.45, 6.413),
    "yolox-s": (640, 9.0, 26.8, 26.686),
    "yolox-m": (640, 25.3, 73.8, 73.530),
    "yolox-l": (640, 54.2, 155.6, 155.293),
    "yolox-x": (640, 99.1, 281.9, 281.410),
}


def count_normed(model: nn.Module, imgsz: int) -> int:
    """Numbers that the batch norms write for one picture."""
    written = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda module, inputs, output: written.append(output.numel()))
    model(torch.empty(1, 3, imgsz, imgsz, device="meta"))
    return sum(written)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameters_and_flops(name):
    with torch.device("meta"):
        model = build_model(name, num_classes=80).eval()
    imgsz, params_m, flops_g, ours_g = PUBLISHED[name]
    assert model.config.imgsz == imgsz
    assert count_parameters(model) / 1e6 == pytest.approx(params_m, rel=0.005)
    macs = count_macs(fold(model), imgsz)
    assert 2 * macs / 1e9 == pytest.approx(ours_g, abs=0.001)
    assert 2 * (macs + 2 * count_normed(model, imgsz)) / 1e9 == pytest.approx(
        flops_g, abs=0.06 if flops_g > 10 else 0.006
    )


@pytest.mark.parametrize(("name", "letter"), [("nano", "p"), ("tiny", "n"), *((letter, letter) for letter in "smlx")])
def test_published_names_and_letters_are_one_network(name, letter):
    with torch.device("meta"):
        published, lettered = (build_model(word, num_classes=80) for word in (f"yolox-{name}", f"yolox{letter}"))
    for part in ("backbone", "neck", "head"):
        assert getattr(published.config, part) == getattr(lettered.config, part)
    assert zoo_config(f"yolox{letter}-ghostnetv3").backbone.type == "ghostnetv3"


def head(**options) -> YoloXHead:
    torch.manual_seed(0)
    options = {"in_channels": (8, 16), "strides": (8, 16), "num_classes": 3, "width": 0.0625, **options}
    return YoloXHead(**options).eval()


def test_boxes_and_scores_by_hand():
    ours = head()
    with torch.no_grad():
        for layer in (*ours.box, *ours.obj, *ours.cls):
            layer.weight.zero_()
        for box in ours.box:
            box.bias.copy_(torch.tensor([0.25, 0.5, math.log(2), math.log(3)]))
        for obj, cls in zip(ours.obj, ours.cls, strict=True):
            obj.bias.fill_(math.log(3))  # 3/4
            cls.bias.copy_(torch.tensor([0.0, -math.log(3), -50]))  # 1/2, 1/4, 0
        boxes, scores = ours([torch.rand(1, 8, 2, 3), torch.rand(1, 16, 1, 1)])
    assert (boxes.shape, scores.shape) == ((1, 7, 4), (1, 7, 3))
    # The cell in column 2, row 1 of stride 8: middle (18, 12), size 16 x 24.
    assert boxes[0, 5].tolist() == pytest.approx([10, 0, 26, 24], abs=1e-4)
    # The only cell of stride 16: middle (4, 8), size 32 x 48.
    assert boxes[0, 6].tolist() == pytest.approx([-12, -16, 20, 32], abs=1e-4)
    assert scores[0, 0].tolist() == pytest.approx([3 / 8, 3 / 16, 0], abs=1e-6)


def test_training_gives_raw_predictions_that_decode_to_the_same():
    ours = head(depthwise=True)
    features = [torch.rand(2, 8, 4, 6), torch.rand(2, 16, 2, 3)]
    with torch.no_grad():
        boxes, scores = ours(features)
        ours.training = True  # the norms stay in evaluation, so that the numbers are the same
        output = ours(features)
        decoded_boxes, decoded_scores = ours.decode(output)
    assert output.box_offsets.shape == (2, 30, 4)
    assert output.obj_logits.shape == (2, 30)
    assert output.cls_logits.shape == (2, 30, 3)
    assert torch.equal(boxes, decoded_boxes)
    assert torch.equal(scores, decoded_scores)


def test_a_fresh_head_believes_in_little():
    scores = head()([torch.rand(1, 8, 4, 4), torch.rand(1, 16, 2, 2)])[1]
    assert ((scores > 0) & (scores < 0.001)).all()  # about 1 % of 1 %


def test_half_precision_decodes_boxes_in_float32():
    ours = head()
    features = [torch.rand(1, 8, 4, 4), torch.rand(1, 16, 2, 2)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        boxes, _ = ours(features)
    assert boxes.dtype == torch.float32

"""The one view on all heads: its scores and boxes are those that the head decodes to."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.losses.cell_predictions import joint_logits, read_cells
from ghostyolo.models.heads.anchor import AnchorHead
from ghostyolo.models.heads.dfl import DflHead
from ghostyolo.models.heads.yolox import YoloXHead

SHAPE = {"in_channels": (8, 8, 16), "strides": (8, 16, 32), "num_classes": 3}
CELLS = {8: 96, 16: 24, 32: 6}  # of 64 x 96 pixels


def head(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    made = {"dfl": lambda: DflHead(**SHAPE, bins=4), "yolox": lambda: YoloXHead(**SHAPE, width=0.0625)}
    built = made.get(kind, lambda: AnchorHead(**SHAPE))()
    for parameter in built.parameters():  # scores all over 0..1, boxes of all sizes
        torch.nn.init.normal_(parameter, std=0.5)
    return built.eval()


@pytest.mark.parametrize("kind", ["dfl", "yolox", "anchor"])
@pytest.mark.parametrize("strides", [(8, 16, 32), (8, 32), (16,)])
def test_scores_and_boxes_are_the_head_s_own(kind, strides) -> None:
    ours = head(kind)
    generator = torch.Generator().manual_seed(1)
    features = [
        torch.randn(2, channels, 64 // stride, 96 // stride, generator=generator)
        for channels, stride in zip(SHAPE["in_channels"], SHAPE["strides"], strict=True)
    ]
    with torch.no_grad():
        output = ours.collect(features)
        boxes_xyxy, scores = ours.decode(output)
        view = read_cells(output, CELLS, strides)
    each = 3 if kind == "anchor" else 1
    keep = torch.cat([torch.full((count * each,), stride in strides) for stride, count in CELLS.items()])
    torch.testing.assert_close(view.score_logits.sigmoid(), scores[:, keep], rtol=1e-5, atol=1e-6)
    rows = torch.arange(2 * int(keep.sum()))
    torch.testing.assert_close(view.boxes_xyxy(rows), boxes_xyxy[:, keep].flatten(0, 1), rtol=1e-5, atol=1e-4)
    assert view.bins == (4 if kind == "dfl" else None)
    some = torch.tensor([3, int(keep.sum()) + 3])
    torch.testing.assert_close(view.boxes_xyxy(some), view.boxes_xyxy(rows)[some])


def test_joint_logits_are_those_of_the_product_and_never_overflow() -> None:
    obj, cls = torch.tensor([0.3, -2.0]).double(), torch.tensor([1.5, 0.7]).double()
    product = obj.sigmoid() * cls.sigmoid()
    torch.testing.assert_close(joint_logits(obj, cls), torch.log(product / (1 - product)))
    far = torch.tensor([200.0, -200.0], requires_grad=True)
    found = joint_logits(far, torch.tensor([200.0, -200.0]))
    found.sum().backward()
    torch.testing.assert_close(found.detach(), torch.tensor([199.30685, -400.0]))
    assert torch.isfinite(far.grad).all()

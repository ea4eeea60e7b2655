"""Blocks of YOLOX and YOLOv8 against the papers' own form."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ghostyolo.nn.blocks import Conv
from ghostyolo.nn.csp import C3, C2f, Sppf


def test_the_stem_is_focus_and_a_3x3_with_as_many_weights():
    torch.manual_seed(0)
    stem = Conv(3, 8, 6, 2).double().eval()
    image = torch.rand(2, 3, 12, 20, dtype=torch.float64)
    # Space to depth: the four pixels of a 2 x 2 square become 4 x 3 channels.
    squares = torch.cat([image[..., dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)], 1)
    kernel = torch.zeros(8, 12, 3, 3, dtype=torch.float64)
    for place, (dy, dx) in enumerate((dy, dx) for dy in (0, 1) for dx in (0, 1)):
        kernel[:, 3 * place : 3 * place + 3] = stem.conv.weight.detach()[..., dy::2, dx::2]
    assert kernel.numel() == stem.conv.weight.numel()
    focus = stem.act(stem.norm(F.conv2d(squares, kernel, padding=1)))
    torch.testing.assert_close(stem(image), focus, rtol=1e-12, atol=1e-12)


def test_a_chain_of_small_pools_is_pools_of_5_9_and_13():
    torch.manual_seed(0)
    block = Sppf(8, 16).eval()
    x = torch.randn(2, 8, 20, 17)
    narrow = block.enter(x)
    pooled = [narrow, *(F.max_pool2d(narrow, side, 1, side // 2) for side in (5, 9, 13))]
    assert torch.equal(block(x), block.exit(torch.cat(pooled, 1)))


def test_shortcuts_add_the_input_only_where_asked():
    x = torch.randn(1, 8, 4, 4)
    for build in (lambda add: C2f(8, 8, 2, add), lambda add: C3(8, 8, 2, add)):
        torch.manual_seed(0)
        without = build(False).eval()
        torch.manual_seed(0)
        added = build(True).eval()
        assert not torch.allclose(without(x), added(x))
        for block in (without, added):
            for inner in block.inner if isinstance(block, C2f) else block.deep:
                y = torch.randn(1, 4, 4, 4)
                plain = inner.second(inner.first(y))
                torch.testing.assert_close(inner(y), plain + y if block is added else plain)

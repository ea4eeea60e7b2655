"""Colour jitter in HSV space, without leaving float32 tensors.

HSV is the hexcone model, on RGB planes.

Value V = max(R, G, B), chroma D = V - min(R, G, B), saturation S = D / V, hue H in sixths of a turn (0..6,
red 0, green 2, blue 4). Back to RGB, each channel is V - D x (what it lacks of full strength there, 0..1).
"""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-8


def jitter_hsv(rgb: Tensor, hue_shift: Tensor, saturation_gain: Tensor, value_gain: Tensor, out: Tensor) -> None:
    """Shift hue, and scale saturation and value.

    Each picture has its own amounts; grey stays grey.

    Args:
        rgb: (3, N, H, W) float32 in 0..1, colour planes first.
        hue_shift: (N,) in turns, -1..1 (1 is a full circle).
        saturation_gain, value_gain: (N,) factors >= 0; results are cut at 1.
        out: (3, N, H, W) float32 that receives the result; any strides, but not the memory of ``rgb``.
    """
    red, green, blue = rgb.unbind(0)
    hue_shift, saturation_gain, value_gain = (
        gain.view(-1, 1, 1) for gain in (hue_shift * 6, saturation_gain, value_gain)
    )
    value = torch.maximum(red, green).maximum(blue)
    weakest = torch.minimum(red, green).minimum(blue)
    chroma = value - weakest

    # With channels scaled to weakest 0, strongest 1, the unsigned distance from red is 1 + G + B - R in every
    # sector (0..3), and its side is the sign of G - B: comparing channels would cost as much as all the rest.
    hue = (green + blue).sub_(red).sub_(weakest).div_(chroma.clamp_min(_TINY)).add_(1)
    hue.copysign_(torch.sub(green, blue, out=weakest)).add_(hue_shift)
    turns = torch.div(hue, 6, out=weakest).floor_()
    hue.sub_(turns, alpha=6)

    saturation = chroma.div_(value.clamp_min(_TINY)).mul_(saturation_gain).clamp_(max=1)
    value.mul_(value_gain).clamp_(max=1)
    chroma = saturation.mul_(value)

    # Green and blue lose strength away from hue 2 and 4; red, whose peak lies on the seam of the circle,
    # gains it away from hue 3. Distances are cut to 1..2 and the 1 is taken back in the term that all share.
    distance, base = turns, value + chroma
    for channel, peak in ((1, 2.0), (2, 4.0)):
        torch.sub(hue, peak, out=distance).abs_().clamp_(1, 2)
        torch.addcmul(base, chroma, distance, value=-1, out=out[channel])
    torch.sub(hue, 3.0, out=distance).abs_().clamp_(1, 2)
    torch.addcmul(value.sub_(chroma, alpha=2), chroma, distance, out=out[0])

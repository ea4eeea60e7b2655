"""INT8 rounding inside a float network.

It shows what rounding costs, and trains weights that stand it.

A convolution's weight is rounded as files store it (int8, symmetric, one scale an output channel), its input as files
pass it on (uint8, one scale and zero point, over a range that was observed). Gradients go straight through
(Jacob et al., 2018, arXiv 1712.05877, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_SMALLEST_SCALE = 1e-8


def round_weight(weight: Tensor) -> Tensor:
    """Return a weight (O, I, kH, kW) as int8 holds it.

    Each output channel has 127 steps either way of zero.
    """
    scale = (weight.detach().abs().amax((1, 2, 3)) / 127).clamp(min=_SMALLEST_SCALE)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


def round_activation(values: Tensor, low: float, high: float) -> Tensor:
    """Round values to 256 steps from ``low`` to ``high``.

    The range is widened to hold zero exactly; what lies beyond is cut off.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, _SMALLEST_SCALE)
    return torch.fake_quantize_per_tensor_affine(values, scale, max(0, min(255, round(-low / scale))), 0, 255)


class FakeQuantConv(nn.Conv2d):
    """A convolution that rounds its weight and its input where ``rounds`` is set.

    It has the parameters of the one it stands for, under the same names, so that checkpoints are alike. The range is
    no part of the weights: it is observed anew from pictures (:func:`observe`).

    Attributes:
        rounds: whether it rounds.
        low, high: range of the input.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            conv.bias is not None,
            conv.padding_mode,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.rounds, self.observes = False, False
        self.low, self.high = math.inf, -math.inf

    def forward(self, images: Tensor) -> Tensor:
        if self.observes:
            low, high = images.detach().aminmax()
            self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        if not self.rounds or self.low > self.high:
            return super().forward(images)
        return self._conv_forward(round_activation(images, self.low, self.high), round_weight(self.weight), self.bias)


def with_fake_quant(model: nn.Module) -> dict[str, FakeQuantConv]:
    """Replace plain convolutions by :class:`FakeQuantConv`, in place, not yet rounding.

    Returns:
        Those, by the path of the module, in the order in which they are declared.
    """
    replacements: dict[str, FakeQuantConv] = {}
    for path, module in list(model.named_modules()):
        for name, child in module.named_children():
            if type(child) is nn.Conv2d:
                replacement = FakeQuantConv(child)
                setattr(module, name, replacement)
                replacements[f"{path}.{name}" if path else name] = replacement
    return replacements


@contextmanager
def observe(convs: dict[str, FakeQuantConv]) -> Iterator[None]:
    """While this lasts, ranges widen to all that passes, and nothing is rounded."""
    before = {path: conv.rounds for path, conv in convs.items()}
    for conv in convs.values():
        conv.observes, conv.rounds = True, False
    try:
        yield
    finally:
        for path, conv in convs.items():
            conv.observes, conv.rounds = False, before[path]

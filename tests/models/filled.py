"""Networks with the same weights on every machine, and the few numbers that tell two outputs apart.

A reference need not come with its weights: both sides are filled by name from the same generator, and the stored
answer stays small.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_VALUES = 24  # of a tensor, kept for a reader who must find out where two networks part


def fill(model: nn.Module, gain: float = 1.0) -> nn.Module:
    """Fill parameters and running statistics by their names, in float64; the network is in evaluation.

    Norms get statistics that are not 0 and 1, so that an epsilon, an order or a missing norm shows. Constants, such as
    a head's anchors, stay.

    Args:
        gain: how much a layer spreads its input; less where many branches add up, lest gates saturate.
    """
    model.double().eval()
    with torch.no_grad():
        for path, module in model.named_modules():
            norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
            for name, tensor in module.named_parameters(f"{path}.", recurse=False):
                tensor.copy_(_values(name.replace("..", "."), tensor, *_span(name, tensor, norm, gain)))
            if norm:
                module.running_mean.copy_(_values(f"{path}.running_mean", module.running_mean, -0.2, 0.2))
                module.running_var.copy_(_values(f"{path}.running_var", module.running_var, 0.5, 1.5))
    return model


def picture(height: int = 64, width: int = 96) -> Tensor:
    """One picture (1, 3, height, width) of values in 0..1, the same everywhere."""
    return torch.from_numpy(np.random.RandomState(7).uniform(size=(1, 3, height, width)))


def digest(tensor: Tensor) -> dict[str, Any]:
    """Shape, a weighted sum that no two entries share a weight in, and some values of a tensor."""
    values = tensor.detach().double().flatten().numpy()
    weights = np.random.RandomState(values.size % 2**31).uniform(-1, 1, values.size)
    places = np.linspace(0, values.size - 1, min(_VALUES, values.size)).astype(int)
    return {
        "shape": list(tensor.shape),
        "largest": _short(np.abs(values).max()),
        "sum": _short(values @ weights / np.sqrt(values.size)),
        "values": [_short(value) for value in values[places]],
    }


def _span(name: str, tensor: Tensor, norm: bool, gain: float) -> tuple[float, float]:
    if tensor.ndim > 1:
        spread = gain * (3 * tensor.shape[0] / tensor.numel()) ** 0.5
        return -spread, spread
    return (0.5, 1.5) if norm and name.endswith("weight") else (-0.2, 0.2)


def _values(name: str, like: Tensor, low: float, high: float) -> Tensor:
    # RandomState's stream is frozen by numpy; the newer generators may change theirs.
    generator = np.random.RandomState(zlib.crc32(name.encode()))
    return torch.from_numpy(generator.uniform(low, high, tuple(like.shape)))


def _short(value: float) -> float:
    return float(f"{value:.9g}")

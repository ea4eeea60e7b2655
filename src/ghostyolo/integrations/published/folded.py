"""Gives folded convolutions their batch norms back.

A file whose norms were folded into its convolutions has a kernel and a bias for each. The network that trains needs
norms. With mean ``m`` and variance ``v`` of the convolution ``K x``, the norm of weight ``sqrt(v + eps)`` and bias
``b + m`` gives ``K x + b``, whatever ``m`` and ``v`` are. They are measured on pictures, so that training, which takes
them from its batch, begins near what evaluation gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ghostyolo.nn.reparam import ConvNorm

_SMALLEST = 1e-6  # variance: a dead channel stays dead


def take_folded(model: nn.Module, tensors: dict[str, Tensor]) -> list[str]:
    """Turn biases of convolutions that have a norm here into that norm, in place.

    Args:
        tensors: by our names; ``conv.bias`` is replaced by ``norm.*``.

    Returns:
        The places whose norms are to be measured.
    """
    places = []
    for place, module in model.named_modules():
        bias = tensors.pop(f"{place}.conv.bias", None) if isinstance(module, ConvNorm) else None
        if bias is None or not isinstance(module, ConvNorm):
            continue
        tensors[f"{place}.norm.weight"] = torch.ones_like(bias)
        tensors[f"{place}.norm.bias"] = bias
        tensors[f"{place}.norm.running_mean"] = torch.zeros_like(bias)
        tensors[f"{place}.norm.running_var"] = torch.full_like(bias, 1 - module.norm.eps)
        places.append(place)
    return places


@torch.no_grad()
def measure_norms(model: nn.Module, places: Sequence[str], batches: Sequence[Tensor]) -> None:
    """Give norms the statistics of pictures.

    What the network gives in evaluation stays as it is.

    Args:
        places: of units as :func:`take_folded` left them.
        batches: (B, C, H, W) of 0 to 1, of any sizes.
    """
    sums: dict[str, list[Tensor]] = {place: [] for place in places}

    def watch(place: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].double().transpose(0, 1).flatten(1)
            sums[place].append(torch.stack((values.mean(1), values.square().mean(1))))

        return hook

    model.eval()
    norms = {place: model.get_submodule(place).norm for place in places}
    handles = [norm.register_forward_pre_hook(watch(place)) for place, norm in norms.items()]  # type: ignore[union-attr]
    for batch in batches:
        model(batch)
    for handle in handles:
        handle.remove()
    for place, norm in norms.items():
        mean, square = torch.stack(sums[place]).mean(0)
        variance = (square - mean.square()).clamp(min=_SMALLEST)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.bias.copy_(norm.bias + mean)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

"""Fit weights with one number of training branches into a network with another.

A smaller number: the last branches are merged into one. The sum of conv + BN branches is a convolution with the kernel
``K = sum(s_i W_i)``, ``s_i = gamma_i / std_i``; the mean of ``K x`` is ``sum(s_i mean_i)``, which is known. Its
variance is not, for that of a sum depends on how the branches correlate; it is estimated as if the pixels under the
kernel were independent and alike: branches then correlate as their kernels do. The batch norm behind ``K`` takes mean
and variance out and puts them back, so in evaluation the result is equal whatever the estimate. In training, where the
batch's own variance is taken out, channels come back scaled by the estimate's error.

A 1x1 branch that the network has not is merged into the last branch in the same way.

A larger number: the added branches start with a batch norm of weight 0, as in :func:`add_branches`; equal in evaluation
and in training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.nn.reparam.container import ConvNorm, RepConv
from ghostyolo.nn.reparam.pairs import find_pairs

Tensors = dict[str, Tensor]

_BRANCH = re.compile(r"^(?P<place>.+)\.branches\.(?P<index>\d+)\.conv\.weight$")
_NORM = ("weight", "bias", "running_mean", "running_var")


def refit_branches(tensors: Mapping[str, Tensor], model: nn.Module) -> tuple[Tensors, list[str]]:
    """Change the containers among ``tensors`` to those that ``model`` has at their places.

    Args:
        tensors: of a network like ``model`` but for the number of branches, by name.
        model: it is not changed.

    Returns:
        All tensors, and the names of the places that had another number of branches. A place that ``model`` has not, or
        that is of another shape there, is left as it was.
    """
    result = dict(tensors)
    counts: dict[str, int] = {}
    for name in tensors:
        match = _BRANCH.match(name)
        if match:
            counts[match["place"]] = max(counts.get(match["place"], 0), int(match["index"]) + 1)
    modules = dict(model.named_modules())
    norms: dict[str, str] | None = None
    changed = []
    for place, count in counts.items():
        module = modules.get(place)
        if isinstance(module, RepConv):
            fits = _refit_container(result, place, count, module)
        elif isinstance(module, ConvNorm):
            fits = _make_plain(result, place, count, module.conv, f"{place}.conv", f"{place}.norm", module.norm.eps)
        elif isinstance(module, nn.Conv2d):
            norms = _norms_of_convs(model, modules) if norms is None else norms
            norm = norms.get(place)
            eps = float(modules[norm].eps) if norm else 0.0  # type: ignore[arg-type]
            fits = norm is not None and _make_plain(result, place, count, module, place, norm, eps)
        else:
            fits = False
        changed += [place] if fits else []
    return result, changed


def _refit_container(tensors: Tensors, place: str, count: int, module: RepConv) -> bool:
    wanted = len(module.branches)
    changed = _refit_pointwise(tensors, place, count, module)
    if wanted == count:
        return changed
    if wanted > count:
        for index in range(count, wanted):
            _add_silent(tensors, f"{place}.branches.{index}", module.branches[index])
        return True
    units = [_take(tensors, f"{place}.branches.{index}") for index in range(wanted - 1, count)]
    eps = module.norms()[0].eps
    _put(
        tensors, f"{place}.branches.{wanted - 1}.conv", f"{place}.branches.{wanted - 1}.norm", *_merge(units, eps), eps
    )
    return True


def _refit_pointwise(tensors: Tensors, place: str, count: int, module: RepConv) -> bool:
    """Merge a 1x1 branch that the container has not into its last branch, or add one that the weights have not."""
    has = f"{place}.pointwise.conv.weight" in tensors
    if has and module.pointwise is None:
        last = f"{place}.branches.{count - 1}"
        kernel, norm = _take(tensors, last)
        point, point_norm = _take(tensors, f"{place}.pointwise")
        height, width = kernel.shape[2:]
        point = F.pad(point, [width // 2, (width - 1) // 2, height // 2, (height - 1) // 2])
        eps = module.norms()[0].eps
        _put(tensors, f"{last}.conv", f"{last}.norm", *_merge([(kernel, norm), (point, point_norm)], eps), eps)
        return True
    if not has and module.pointwise is not None:
        _add_silent(tensors, f"{place}.pointwise", module.pointwise)
        return True
    return False


def _add_silent(tensors: Tensors, unit: str, branch: nn.Module) -> None:
    """A fresh branch whose batch norm has weight 0."""
    tensors.update({f"{unit}.{name}": value.clone() for name, value in branch.state_dict().items()})
    tensors[f"{unit}.norm.weight"].zero_()


def _make_plain(
    tensors: Tensors, place: str, count: int, conv: nn.Conv2d, conv_name: str, norm_name: str, eps: float
) -> bool:
    """Merge every branch of a container into one convolution and its batch norm."""
    units = [_take(tensors, f"{place}.branches.{index}") for index in range(count)]
    height, width = conv.weight.shape[2:]
    edge = [width // 2, (width - 1) // 2, height // 2, (height - 1) // 2]
    if f"{place}.pointwise.conv.weight" in tensors:
        point, norm = _take(tensors, f"{place}.pointwise")
        units.append((F.pad(point, edge), norm))
    if f"{place}.identity.weight" in tensors:
        norm = {name: tensors.pop(f"{place}.identity.{name}") for name in _NORM}
        unit = torch.zeros(conv.weight.shape)
        channel = torch.arange(unit.shape[0])
        unit[channel, channel % unit.shape[1], height // 2, width // 2] = 1
        units.append((unit, norm))
    _put(tensors, conv_name, norm_name, *_merge(units, eps), eps)
    if conv.bias is not None:
        tensors[f"{conv_name}.bias"] = torch.zeros(conv.out_channels)
    return True


Unit = tuple[Tensor, Tensors]
"""A kernel and the four tensors of the batch norm behind it."""


def _take(tensors: Tensors, unit: str) -> Unit:
    return tensors.pop(f"{unit}.conv.weight"), {name: tensors.pop(f"{unit}.norm.{name}") for name in _NORM}


def _merge(units: list[Unit], eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Kernel, bias, mean and variance of the sum of conv + BN units."""
    scales = [norm["weight"] / torch.sqrt(norm["running_var"] + eps) for _, norm in units]
    kernels = torch.stack([kernel for kernel, _ in units])
    scaled = torch.stack([kernel * scale.view(-1, 1, 1, 1) for (kernel, _), scale in zip(units, scales, strict=True)])
    means = torch.stack([scale * norm["running_mean"] for (_, norm), scale in zip(units, scales, strict=True)])
    bias = torch.stack([norm["bias"] for _, norm in units]).sum(0)
    deviations = torch.stack(
        [scale * norm["running_var"].sqrt() for (_, norm), scale in zip(units, scales, strict=True)]
    )
    directions = F.normalize(kernels.flatten(2), dim=2)
    alike = torch.einsum("ick,jck->ijc", directions, directions)
    variance = torch.einsum("ic,jc,ijc->c", deviations, deviations, alike)
    return scaled.sum(0), bias, means.sum(0), variance.clamp(min=1e-12)


def _put(
    tensors: Tensors, conv: str, norm: str, kernel: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> None:
    tensors |= {
        f"{conv}.weight": kernel,
        f"{norm}.weight": torch.sqrt(variance + eps),
        f"{norm}.bias": bias,
        f"{norm}.running_mean": mean,
        f"{norm}.running_var": variance,
    }


def _norms_of_convs(model: nn.Module, modules: dict[str, nn.Module]) -> dict[str, str]:
    names = {module: name for name, module in modules.items()}
    training = model.training
    pairs = find_pairs(model.eval())
    model.train(training)
    return {names[conv]: names[norm] for conv, norm in pairs}

"""Which modules are batch norms, and how one goes into a kernel.

Ours and foreign ones; and what stays of one then.

A batch norm in evaluation is a product and a sum for each channel. Some networks put more into the same module: timm's
``BatchNormAct2d`` drops and activates after it. torchvision's ``FrozenBatchNorm2d`` is one by buffers, not by class.
"""

from __future__ import annotations

import copy
import itertools
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Norm = Any  # a batch norm by class or by buffers: running_mean, running_var, eps, and weight and bias unless not affine

_STATE = ("weight", "bias", "running_mean", "running_var")
_STOCK_FORWARDS = (_BatchNorm.forward, nn.SyncBatchNorm.forward)


def fold_batch_norm(kernel: Tensor, norm: Norm, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Fold a batch norm in evaluation into the convolution before it.

    Args:
        kernel: (out, in / groups, *sides).
        norm: the batch norm over ``out`` channels, with running statistics.
        bias: (out,) of the convolution, if it has one.

    Returns:
        Kernel of the same shape and bias (out,).
    """
    scale, shift = scale_and_shift(norm)
    if bias is not None:
        shift = shift + bias * scale
    return kernel * scale.reshape(-1, *[1] * (kernel.dim() - 1)), shift


def scale_and_shift(norm: Norm) -> tuple[Tensor, Tensor]:
    """Return what a batch norm in evaluation multiplies by and adds, (channels,) each."""
    scale = (1 if norm.weight is None else norm.weight) / torch.sqrt(norm.running_var + norm.eps)
    shift = (0 if norm.bias is None else norm.bias) - norm.running_mean * scale
    return scale, shift


def is_batch_norm(module: nn.Module) -> bool:
    """Whether the module is a batch norm with running statistics, and maybe activates."""
    if isinstance(module, _BatchNorm):
        known = isinstance(module.running_mean, Tensor) and isinstance(module.running_var, Tensor)
    else:
        known = all(isinstance(getattr(module, name, None), Tensor) for name in _STATE)
        known = known and isinstance(getattr(module, "eps", None), float)
    if not known:
        return False
    stock = type(module).forward in _STOCK_FORWARDS and "forward" not in vars(module)
    return stock or _is_affine_then_remains(module)


def remains_of(norm: nn.Module) -> nn.Module:
    """Return what is left to do when the batch norm is folded.

    Its ``drop`` and ``act``, under those names, or an identity.
    """
    parts = ((name, getattr(norm, name, None)) for name in ("drop", "act"))
    kept = OrderedDict(
        (name, part) for name, part in parts if isinstance(part, nn.Module) and not isinstance(part, nn.Identity)
    )
    return nn.Sequential(kept) if kept else nn.Identity()


def on_trial(module: nn.Module) -> nn.Module:
    """Return a copy for trials, in evaluation on the CPU in float64.

    All its numbers are drawn from 0.5 to 1.5, so that none is special.
    """
    trial = copy.deepcopy(module).to_empty(device="cpu").double().eval()
    generator = torch.Generator().manual_seed(0)
    for tensor in itertools.chain(trial.parameters(), trial.buffers()):
        if tensor.is_floating_point():
            tensor.data.uniform_(0.5, 1.5, generator=generator)
        else:
            tensor.data.zero_()
    return trial


@torch.no_grad()
def _is_affine_then_remains(norm: nn.Module) -> bool:
    """A class with a ``forward`` of its own is taken at its numbers: it must equal its folded form."""
    try:
        trial = on_trial(norm)
        scale, shift = scale_and_shift(trial)
        channels = len(scale)
        x = torch.linspace(-3, 3, 2 * channels * 4, dtype=torch.float64).reshape(2, channels, 2, 2)
        affine = x * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)
        expected = trial(x)
        return torch.allclose(remains_of(trial)(affine), expected, rtol=1e-9, atol=1e-9)
    except Exception:  # whatever a foreign forward raises on a plain map, it is then no plain batch norm
        return False

"""Structural re-parameterization: several branches in training, one convolution on the device.

Sources: RepVGG (arXiv 2101.03697, section 3.3) for the mathematics, MobileOne (2206.04040) and GhostNetV3 (2404.11202,
section 3.2) for N parallel branches.

A convolution followed by a batch norm in evaluation is a convolution::

    gamma (W * x - mean) / sqrt(var + eps) + beta  =  (gamma / std) W * x  +  (beta - gamma mean / std)

and the sum of convolutions with one stride, grouping and padding is a convolution with the summed kernels. A 1x1 branch
is a k x k kernel with zeros around its centre, an identity branch a kernel with a one there.

Every module here that can be written as plain convolutions has a method ``fuse()`` that RETURNS the plain module;
:func:`fold` walks a copy of a network and puts it in place. Nothing is flagged and no dead branch stays behind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[], nn.Module]
Pair = tuple[int, int]
Norm = Any  # BatchNorm2d or SyncBatchNorm: weight, bias, running_mean, running_var and eps


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


def fold_batch_norm(kernel: Tensor, norm: Norm, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Fold a batch norm in evaluation into the convolution before it.

    Args:
        kernel: (out, in / groups, kh, kw).
        norm: the ``BatchNorm2d`` (or synchronised one) over ``out`` channels, with running statistics.
        bias: (out,) of the convolution, if it has one.

    Returns:
        Kernel of the same shape and bias (out,).
    """
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    if bias is not None:
        shift = shift + bias * scale
    return kernel * scale.reshape(-1, 1, 1, 1), shift


def plain_conv(like: nn.Conv2d, kernel: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution with bias, of the geometry of ``like``, holding the given kernel and bias."""
    conv = nn.Conv2d(
        like.in_channels,
        like.out_channels,
        like.kernel_size,  # type: ignore[arg-type]
        like.stride,  # type: ignore[arg-type]
        like.padding,  # type: ignore[arg-type]
        like.dilation,  # type: ignore[arg-type]
        like.groups,
        bias=True,
        device=kernel.device,
        dtype=kernel.dtype,
    )
    conv.weight = nn.Parameter(kernel.detach().clone())
    conv.bias = nn.Parameter(bias.detach().clone())
    return conv


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, optional activation: the unit of all networks here.

    Padding is ``(kernel - 1) // 2`` on each side: odd kernels keep the size at stride 1, even ones halve it at 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair = 1,
        stride: int = 1,
        groups: int = 1,
        act: Activation | None = None,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        kernel = _pair(kernel)
        padding = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=eps, momentum=momentum)
        self.act = act() if act is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """The equal convolution's kernel and bias in evaluation."""
        return fold_batch_norm(self.conv.weight, self.norm)

    def fuse(self) -> nn.Module:
        conv = plain_conv(self.conv, *self.kernel_and_bias())
        return conv if isinstance(self.act, nn.Identity) else nn.Sequential(conv, self.act)


class RepConv(nn.Module):
    """N parallel conv + BN branches, an optional 1x1 branch and an optional BN identity, summed, then activated.

    Parameter names: ``branches.{i}.conv.weight`` and ``branches.{i}.norm.*`` for i < N, ``pointwise.conv.weight``
    and ``pointwise.norm.*`` (the 1x1 branch), ``identity.*`` (the BN of the skip).

    Args:
        branches: N >= 1, the number of k x k branches. Published choice: 3.
        pointwise: add the 1x1 branch; ignored where the kernel is 1x1 already.
        identity: add the BN identity; ignored where input and output differ in shape.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: Activation | None = None,
        branches: int = 3,
        pointwise: bool = True,
        identity: bool = True,
    ) -> None:
        super().__init__()
        if branches < 1:
            raise ValueError(f"branches must be at least 1, got {branches}")
        self.branches = nn.ModuleList(
            ConvNorm(in_channels, out_channels, kernel, stride, groups) for _ in range(branches)
        )
        self.pointwise = ConvNorm(in_channels, out_channels, 1, stride, groups) if pointwise and kernel > 1 else None
        same_shape = in_channels == out_channels and stride == 1
        self.identity = nn.BatchNorm2d(out_channels) if identity and same_shape else None
        self.act = act() if act is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        if self.pointwise is not None:
            total = total + _pointwise(self.pointwise, x)
        if self.identity is not None:
            total = total + self.identity(x)
        return self.act(total)

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """The one kernel (out, in / groups, k, k) and bias (out,) that all branches together are in evaluation."""
        pairs = [cast(ConvNorm, branch).kernel_and_bias() for branch in self.branches]
        kernel = torch.stack([pair[0] for pair in pairs]).sum(0)
        bias = torch.stack([pair[1] for pair in pairs]).sum(0)
        size = kernel.shape[-1]
        if self.pointwise is not None:
            point, shift = self.pointwise.kernel_and_bias()
            kernel = kernel + F.pad(point, [size // 2] * 4)
            bias = bias + shift
        if self.identity is not None:
            unit = torch.zeros_like(kernel)
            channel = torch.arange(kernel.shape[0], device=kernel.device)
            unit[channel, channel % kernel.shape[1], size // 2, size // 2] = 1
            skip, shift = fold_batch_norm(unit, self.identity)
            kernel = kernel + skip
            bias = bias + shift
        return kernel, bias

    def fuse(self) -> nn.Module:
        conv = plain_conv(cast(ConvNorm, self.branches[0]).conv, *self.kernel_and_bias())
        return conv if isinstance(self.act, nn.Identity) else nn.Sequential(conv, self.act)


def _pointwise(branch: ConvNorm, x: Tensor) -> Tensor:
    """The 1x1 branch. A depthwise one is a number a channel: a product, far cheaper than a convolution."""
    conv = branch.conv
    if not conv.groups == conv.in_channels == conv.out_channels:
        return branch(x)
    step = conv.stride[0]
    thinned = x[:, :, ::step, ::step] if step > 1 else x
    return branch.norm(thinned * conv.weight.view(1, -1, 1, 1))


def fold(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` in evaluation mode with every branch and batch norm folded away.

    Children are replaced by what their ``fuse()`` returns; the model given is left as it was. Folding twice does no
    harm: a folded network has nothing left to fuse.
    """
    folded = copy.deepcopy(model).eval()
    with torch.no_grad():
        return _fold_children(folded)


def _fold_children(module: nn.Module) -> nn.Module:
    fuse = getattr(module, "fuse", None)
    if callable(fuse):
        return fuse()
    for name, child in module.named_children():
        setattr(module, name, _fold_children(child))
    return module


def is_folded(model: nn.Module) -> bool:
    """Whether no batch norm and no branch is left."""
    return not any(
        isinstance(module, nn.modules.batchnorm._BatchNorm | RepConv | ConvNorm) for module in model.modules()
    )

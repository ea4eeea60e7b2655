"""The units of our networks: convolution + batch norm, and the branch container.

Each has a method ``fuse()`` that RETURNS the plain module; :func:`ghostyolo.nn.reparam.fold` walks a copy of a network
and puts it in place. Nothing is flagged and no dead branch stays behind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.nn.reparam.convs import Pair, is_centred, pair, plain_conv
from ghostyolo.nn.reparam.fast_sum import sum_at_once
from ghostyolo.nn.reparam.norms import Norm, fold_batch_norm

Activation = Callable[[], nn.Module]


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, optional activation: the unit of all networks here.

    Padding is ``(kernel - 1) // 2`` on each side: odd kernels keep the size at stride 1, even ones halve it at 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair = 1,
        stride: int | Pair = 1,
        groups: int = 1,
        act: Activation | None = None,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        kernel = pair(kernel)
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
    """Parallel conv + BN branches whose sum is activated.

    There are N of them, an optional 1x1 branch and an optional BN identity.

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

    @classmethod
    def like(cls, conv: nn.Conv2d, norm: Norm, branches: int, pointwise: bool, identity: bool) -> RepConv:
        """Return a fresh container in the place of a convolution and batch norm.

        Its convolutions have the class and geometry of ``conv``, its norms ``eps``, ``momentum`` and synchronisation of
        ``norm``. The 1x1 branch and the identity are left out where they would not fold into the kernel exactly: where
        the kernel's middle is not on the pixel itself (even kernels, other padding than ``dilation * (kernel // 2)``).
        """
        container = cls(
            conv.in_channels, conv.out_channels, groups=conv.groups, branches=branches, pointwise=False, identity=False
        )
        units = [cast(ConvNorm, branch) for branch in container.branches]
        for unit in units:
            unit.conv = _fresh_conv(conv)
        if pointwise and is_centred(conv) and conv.kernel_size != (1, 1):
            container.pointwise = ConvNorm(
                conv.in_channels, conv.out_channels, 1, cast(Pair, conv.stride), conv.groups
            ).to(conv.weight)
            units.append(container.pointwise)
        for unit in units:
            unit.norm = _fresh_norm(norm)
        if identity and is_centred(conv) and conv.in_channels == conv.out_channels and conv.stride == (1, 1):
            container.identity = _fresh_norm(norm)
        return container.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        total = sum_at_once(self, x) if self.training else None
        return self.act(self.sum_one_by_one(x) if total is None else total)

    def sum_one_by_one(self, x: Tensor) -> Tensor:
        """Sum the branches one after the other, which is what the container means."""
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        if self.pointwise is not None:
            total = total + _pointwise(self.pointwise, x)
        if self.identity is not None:
            total = total + self.identity(x)
        return cast(Tensor, total)

    def norms(self) -> list[nn.BatchNorm2d]:
        """The batch norms, those of the N branches first."""
        norms = [cast(ConvNorm, branch).norm for branch in self.branches]
        if self.pointwise is not None:
            norms.append(self.pointwise.norm)
        return norms if self.identity is None else [*norms, self.identity]

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """Return the one kernel and bias that all branches are in evaluation."""
        pairs = [cast(ConvNorm, branch).kernel_and_bias() for branch in self.branches]
        kernel = torch.stack([pair[0] for pair in pairs]).sum(0)
        bias = torch.stack([pair[1] for pair in pairs]).sum(0)
        middle = (kernel.shape[-2] // 2, kernel.shape[-1] // 2)
        if self.pointwise is not None:
            point, shift = self.pointwise.kernel_and_bias()
            kernel = kernel + F.pad(point, [middle[1], middle[1], middle[0], middle[0]])
            bias = bias + shift
        if self.identity is not None:
            unit = torch.zeros_like(kernel)
            channel = torch.arange(kernel.shape[0], device=kernel.device)
            unit[channel, channel % kernel.shape[1], middle[0], middle[1]] = 1
            skip, shift = fold_batch_norm(unit, self.identity)
            kernel = kernel + skip
            bias = bias + shift
        return kernel, bias

    def fuse(self) -> nn.Module:
        conv = plain_conv(cast(ConvNorm, self.branches[0]).conv, *self.kernel_and_bias())
        return conv if isinstance(self.act, nn.Identity) else nn.Sequential(conv, self.act)


def _pointwise(branch: ConvNorm, x: Tensor) -> Tensor:
    """The 1x1 branch on the pixels that it sees. A depthwise one is a number a channel: a product, far cheaper than a
    convolution.

    Pooling over one pixel thins out as a slice does, but its gradient keeps the memory format and is written once. And
    torch 2.14 on a CPU writes outside its memory in the backward pass of a 1x1 convolution of stride 2 over 3 channels
    that are last in memory.
    """
    conv = branch.conv
    thinned = x if conv.stride == (1, 1) else F.avg_pool2d(x, 1, cast(Pair, conv.stride))
    if conv.groups == conv.in_channels == conv.out_channels:
        return branch.norm(thinned * conv.weight.view(1, -1, 1, 1))
    return branch.act(branch.norm(F.conv2d(thinned, conv.weight, groups=conv.groups)))


def _fresh_conv(like: nn.Conv2d) -> nn.Conv2d:
    conv = copy.deepcopy(like).requires_grad_(True)
    conv.bias = None
    conv.reset_parameters()
    return conv


def _fresh_norm(like: Norm) -> nn.BatchNorm2d:
    options = {
        "eps": like.eps,
        "momentum": like.momentum,
        "device": like.running_mean.device,
        "dtype": like.running_mean.dtype,
    }
    channels = len(like.running_mean)
    if isinstance(like, nn.SyncBatchNorm):
        # Not a BatchNorm2d by class, but the same by state and by what it takes.
        return cast(nn.BatchNorm2d, nn.SyncBatchNorm(channels, process_group=like.process_group, **options))
    return nn.BatchNorm2d(channels, **options)

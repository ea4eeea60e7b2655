"""Depthwise branches of stride 2, summed with little traffic.

Each has an output of its own, a quarter of the map, but everything else once.

What costs is what is as large as the input. So the batch norms are computed on the small outputs, their sum is one
expression of them, the 1x1 branch reads and writes only the pixels it sees, and the input's gradient is written
by the branches into one map. Kernel gradients of 5x5 are taken on the four phases of the input (even and odd rows and
columns), where they are 3x3 and of stride 1, which libraries compute several times faster.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_STRIDE = [2, 2]


class StridedSum(torch.autograd.Function):
    """Sum of J normalised branches: ``apply(x, kernels, points, weight, bias, eps, layout)``.

    ``x`` has its channels last in memory; ``layout`` is the memory format of the sum and of the gradient of ``x``.
    ``kernels`` (N, O, 1, k, k), k 3 or 5; ``points`` (J - N, O) of the 1x1 branches; ``weight`` and ``bias`` (J, O) of
    the batch norms; ``eps`` (J, 1). Returns the sum (B, O, H', W') and mean and biased variance of each branch, (J, O).
    Not twice differentiable.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernels: Tensor,
        points: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: Tensor,
        layout: torch.memory_format,
    ) -> tuple[Tensor, Tensor, Tensor]:
        side, channels = kernels.shape[-1], x.shape[1]
        outputs = [F.conv2d(x, kernel, None, _STRIDE, side // 2, groups=channels) for kernel in kernels]
        outputs += [F.avg_pool2d(x, 1, _STRIDE) for _ in points]  # before their factor, which only scales the moments
        factors = torch.cat((points.new_ones(len(kernels), channels), points))
        mean, variance = (torch.stack(values) for values in zip(*map(_centre, outputs), strict=True))
        mean, variance = factors * mean, factors.square() * variance
        deviation = torch.rsqrt(variance + eps)
        total = _per_channel(bias.sum(0))
        for output, scale in zip(outputs, weight * deviation * factors, strict=True):
            total = torch.addcmul(total, output, _per_channel(scale))
        ctx.save_for_backward(x, kernels, points, weight, deviation, eps, *outputs)
        ctx.mark_non_differentiable(mean, variance)
        ctx.layout = layout
        return total.contiguous(memory_format=layout), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, kernels, points, weight, deviation, eps, *outputs = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        pixels, total = grad.numel() // grad.shape[1], _sum(grad)
        of_output = deviation * torch.cat((points.new_ones(len(kernels), x.shape[1]), points))
        scales = weight * of_output
        along = torch.stack([_sum(grad * output) for output in outputs])
        pulls = -scales * of_output.square() * along / pixels
        centred = grad - _per_channel(total / pixels)
        by_output = [
            (centred * _per_channel(scale)).addcmul_(output, _per_channel(pull))
            for output, scale, pull in zip(outputs, scales, pulls, strict=True)
        ]
        by_x, by_kernels = _input_and_kernel_gradients(x, kernels, by_output[: len(kernels)])
        for through in by_output[len(kernels) :]:
            by_x[:, :, ::2, ::2] += through
        # A factor before a batch norm is felt through eps alone; so written, nothing large is subtracted.
        by_points = (weight * eps * deviation**3 * along)[len(kernels) :]
        by_x = by_x.contiguous(memory_format=ctx.layout)
        by_bias = total.repeat(len(weight), 1)  # parameters add to what they are given in place: each its own memory
        return by_x, by_kernels, by_points, of_output * along, by_bias, None, None


def _input_and_kernel_gradients(maps: Tensor, kernels: Tensor, by_output: list[Tensor]) -> tuple[Tensor, Tensor]:
    side, channels = kernels.shape[-1], maps.shape[1]
    padding, by_phases = [side // 2] * 2, side == 5
    phases = list(_phases(maps)) if by_phases else []
    by_x: list[Tensor] = []
    by_kernels = torch.zeros_like(kernels)
    for number, (kernel, of_output) in enumerate(zip(kernels, by_output, strict=True)):
        through, of_kernel, _ = torch.ops.aten.convolution_backward(
            of_output, maps, kernel, None, _STRIDE, padding, [1, 1], False, [0, 0], channels,
            [True, not by_phases, False],
        )  # fmt: skip
        by_x = [by_x[0].add_(through) if by_x else through]
        if not by_phases:
            by_kernels[number] = of_kernel
        for row, column, phase in phases:
            _, of_phase, _ = torch.ops.aten.convolution_backward(
                of_output, phase, kernel[..., :3, :3], None, [1, 1], [1, 1], [1, 1], False, [0, 0], channels,
                [False, True, False],
            )  # fmt: skip
            into = by_kernels[number][..., row::2, column::2]
            into.copy_(of_phase[..., : into.shape[-2], : into.shape[-1]])
    return by_x[0], by_kernels


def _phases(maps: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Even and odd rows and columns, each as large as the even ones; what an odd size lacks is zero, as padding is."""
    height, width = maps.shape[2:]
    for row, column in itertools.product((0, 1), repeat=2):
        phase = F.pad(maps[:, :, row::2, column::2], (0, column * (width % 2), 0, row * (height % 2)))
        yield row, column, phase.contiguous(memory_format=torch.channels_last)


def _centre(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract each channel's mean in place, and return it and the biased variance.

    Batch norms sum one value after the other where channels are last in memory, and lose digits.
    """
    pixels = maps.numel() // maps.shape[1]
    mean = _sum(maps) / pixels
    maps -= _per_channel(mean)
    return mean, _sum(maps.square()) / pixels


def _sum(maps: Tensor) -> Tensor:
    """Sum of each channel, in short sums."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2).sum(1).sum(0)


def _per_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)

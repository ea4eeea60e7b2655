"""Moments and gradients of dense k x k branches.

A patch is the neighbourhood of a pixel in all channels, T = C k k.

For n output pixels the second moment costs n T^2 multiply-accumulates, and three times that where the input map has a
gradient. It pays in the first convolutions of a network: few channels, so that patches are short, and maps so large
that what costs is one output and one batch norm for each branch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ghostyolo.nn.reparam.fast_sum.merged import Backward, Form

_ROWS = 4096  # patches of one block: few enough that it stays in the cache
# Pixels of one sum of float32 in a kernel's gradient. Whole pictures, at least one.
_PIXELS_OF_GRADIENT = 25_600


class DenseForm(Form):
    """See :class:`~ghostyolo.nn.reparam.fast_sum.merged.Form`. Input (B, C, H, W), its channels last in memory.

    Moments are sums of float64, so that differences of neighbours, which vary little in pictures, keep their digits.
    """

    reliable = reliable_if_exact = 1e-8

    def __init__(self, x: Tensor, side: int, stride: int) -> None:
        self.side, self.stride = side, stride
        self.pixels = 0
        taps = x.shape[1] * side**2
        total = x.new_zeros(taps, dtype=torch.float64)
        products = x.new_zeros(taps, taps, dtype=torch.float64)
        for patches in self._patches(x):
            self.pixels += len(patches)
            total += patches.sum(0)
            products.addmm_(patches.t(), patches)
        order = torch.arange(taps).view(side**2, -1).t().flatten()  # patches have their channels last, kernels first
        self.mean = total[order] / self.pixels
        self.second = products[order][:, order] / self.pixels

    def _patches(self, x: Tensor) -> Iterator[Tensor]:
        """Blocks (pixels, T) of float64, their channels last; each in the memory of the one before."""
        side, stride = self.side, self.stride
        maps = F.pad(x, [side // 2] * 4).permute(0, 2, 3, 1).contiguous()
        batch, height, width, channels = maps.shape
        rows, columns = ((size - side) // stride + 1 for size in (height, width))
        of_picture, of_row, of_pixel, _ = maps.stride()
        windows = maps.as_strided(
            (batch, rows, columns, side, side * channels),
            (of_picture, stride * of_row, stride * of_pixel, of_row, 1),
        )
        at_once = max(1, _ROWS // columns)
        block = maps.new_empty((at_once, columns, side, side * channels), dtype=torch.float64)
        for picture in windows:
            for band in picture.split(at_once):
                yield block[: len(band)].copy_(band).view(-1, side * side * channels)

    def times_covariance(self, kernels: Tensor) -> Tensor:
        along_mean = (kernels * self.mean).sum(-1, keepdim=True)
        return kernels @ self.second - along_mean * self.mean

    def terms(self, kernels: Tensor) -> Tensor:
        return (kernels.abs() @ self.second.diagonal().sqrt()).square()

    def convolve(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, self._as_kernel(kernel, x), bias.to(x.dtype), self.stride, self.side // 2)

    def kernel_gradient(self, x: Tensor, grad: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor, None]:
        taps = self._as_kernel(kernel, x)
        at_once = max(1, _PIXELS_OF_GRADIENT // (grad.shape[2] * grad.shape[3]))
        parts = zip(grad.split(at_once), x.split(at_once), strict=True)
        gradients = [self._backward(of_grad, of_x, taps, [False, True, True])[1:] for of_grad, of_x in parts]
        raw, total = (torch.stack(values).double().sum(0) for values in zip(*gradients, strict=True))
        return raw.flatten(1), total, None

    def input_gradient(self, x: Tensor, back: Backward) -> Tensor:
        flat = back.kernels.flatten(0, 1)
        mixing = (2 / self.pixels) * ((back.curvature.reshape(-1, 1) * flat).t() @ flat)
        constant = -(back.pull / self.pixels) @ back.kernel - self.mean @ mixing
        by_patch = F.conv2d(x, self._as_kernel(mixing, x), constant.to(x.dtype), self.stride, self.side // 2)
        each_tap = self._as_kernel(torch.eye(len(mixing)), x)
        through_moments, _, _ = self._backward(by_patch, x, each_tap, [True, False, False])
        result, _, _ = self._backward(back.grad, x, self._as_kernel(back.kernel, x), [True, False, False])
        result += through_moments
        return result

    def _as_kernel(self, taps: Tensor, like: Tensor) -> Tensor:
        return taps.to(like.dtype).view(-1, like.shape[1], self.side, self.side)

    def _backward(self, grad: Tensor, x: Tensor, kernel: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
        """Those wanted of the gradients of the input, the kernel and a bias."""
        stride, padding = [self.stride] * 2, [self.side // 2] * 2
        gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
            grad, x, kernel, [len(kernel)], stride, padding, [1, 1], False, [0, 0], 1, wanted
        )
        return gradients

"""Moments and gradients of 1x1 branches.

A patch is the channels of one pixel, T = input channels.

For n pixels the covariance costs n T^2 multiply-accumulates forward and as many backward, where J branches one by one
cost 3 (J - 1) n T O more than one: cheaper where T is small beside O.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ghostyolo.nn.reparam.fast_sum.merged import Backward, Form

_ROWS = 4096  # pixels of one block: few enough that a centred block stays in the cache


class PointwiseForm(Form):
    """See :class:`~ghostyolo.nn.reparam.fast_sum.merged.Form`. Input (B, T, H, W)."""

    reliable = reliable_if_exact = 0.02

    def __init__(self, x: Tensor) -> None:
        self.channels_last = x.is_contiguous(memory_format=torch.channels_last)
        blocks = list(self._blocks(x))
        self.pixels = sum(len(block) for block in blocks)
        # Each block around its own mean, then the blocks' means around the mean of all: nothing large is subtracted.
        means = torch.stack([block.mean(0) for block in blocks])
        share = torch.tensor([len(block) / self.pixels for block in blocks], dtype=torch.float64)
        mean = share @ means.double()
        around = means.double() - mean
        covariance = (share.unsqueeze(1) * around).t() @ around
        for block, of_block in zip(blocks, means, strict=True):
            centred = block - of_block
            covariance += (centred.t() @ centred).double() / self.pixels
        self.mean, self.covariance = mean.to(x.dtype), covariance.to(x.dtype)

    def times_covariance(self, kernels: Tensor) -> Tensor:
        return kernels @ self.covariance

    def terms(self, kernels: Tensor) -> Tensor:
        return kernels.square() @ self.covariance.diagonal()

    def convolve(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, kernel[:, :, None, None], bias)

    def kernel_gradient(self, x: Tensor, grad: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor, None]:
        raw = torch.zeros_like(kernel)
        total = grad.new_zeros(grad.shape[1])
        for block, of_grad in zip(self._blocks(x), self._blocks(grad), strict=True):
            raw.addmm_(of_grad.t(), block)
            total += of_grad.sum(0)
        return raw, total, None

    def input_gradient(self, x: Tensor, back: Backward) -> Tensor:
        flat = back.kernels.flatten(0, 1)
        mixing = (2 / self.pixels) * ((back.curvature.reshape(-1, 1) * flat).t() @ flat)
        constant = (back.pull / self.pixels) @ back.kernel + self.mean @ mixing
        result = torch.empty_like(x)
        for block, of_grad, into in zip(self._blocks(x), self._blocks(back.grad), self._blocks(result), strict=True):
            torch.addmm(-constant, of_grad, back.kernel, out=into)
            into.addmm_(block, mixing)
        return result

    def _blocks(self, maps: Tensor) -> Iterator[Tensor]:
        """Views (pixels, channels) of maps: runs of pixels where channels are last in memory, else pictures."""
        if self.channels_last:
            yield from maps.permute(0, 2, 3, 1).flatten(0, 2).split(_ROWS)
        else:
            yield from (picture.flatten(1).t() for picture in maps)

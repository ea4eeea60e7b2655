"""Moments and gradients of depthwise 3x3 branches.

A patch is the neighbourhood of one pixel of a channel, T = 9.

Stride 1, zero padding 1. The product of two taps a and b, summed over all pixels o, depends on how far the taps are
apart, but for what the border cuts off::

    sum of x[o + a] x[o + b]  =  R[b - a]  -  the rim line (and + the corner) that neither tap sees

so that the 81 entries of a channel's second moment are its autocorrelation R, of which half is mirrored, and sums along
the rim. R is what a depthwise convolution's kernel gradient computes, with the map itself in the gradient's place: one
pass with a 5x3 kernel over the map and itself moved by one column. The gradient of R is again a convolution of the map,
5x5.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ghostyolo.nn.reparam.fast_sum.merged import Backward, Form

# Pixels of one sum of float32. Where a map has plateaus, as a padded picture has, rounding is to one side, so that the
# error grows with the length: 2e-6 of the sum at this one.
_PIXELS = 320
# The same for gradients, which have no plateaus. Whole pictures, at least one.
_PIXELS_OF_GRADIENT = 6400
_TAPS = tuple(itertools.product((-1, 0, 1), repeat=2))
_UNSEEN_ROW, _UNSEEN_COLUMN = {-1: "bottom", 1: "top"}, {-1: "right", 1: "left"}
_SIDES = ("top", "bottom", "left", "right")
_CORNERS = tuple(itertools.product(("top", "bottom"), ("left", "right")))
_FAR = tuple(itertools.product(range(-2, 3), range(3)))  # distances of R in rows and columns; the others are mirrored
_ALONG = tuple(itertools.product(_SIDES, range(3)))  # distances of a rim line's autocorrelation


class DepthwiseForm(Form):
    """See :class:`~ghostyolo.nn.reparam.fast_sum.merged.Form`. Input (B, O, H, W), its channels last in memory.

    Moments are float64.
    """

    reliable, reliable_if_exact = 0.02, 0.004  # sums of float32 first

    def __init__(self, x: Tensor) -> None:
        batch, _, height, width = x.shape
        self.pixels = batch * height * width
        self.lines = _rim(x)
        lines = self.lines.double()
        ends = (lines[:2, :, 0], lines[:2, :, width - 1])
        corners = torch.stack(ends, 1).flatten(0, 1)  # (4, B, O), in the order of _CORNERS
        shifted = [(lines[:, :, d:], lines[:, :, : _less(lines, d)]) for d in range(3)]
        along = torch.stack([(one * other).sum((1, 2)) for one, other in shifted]).permute(2, 1, 0)
        self.rim_products = torch.cat((along.flatten(1), corners.square().sum(1).t()), 1)
        self.rim_sums = torch.cat((lines.sum((1, 2)), corners.sum(1)))
        self.of_products, self.of_sums = _assembly(self.pixels)
        flat = _side_by_side(x)
        self._set_moments(flat.sum(0), _correlation(flat, flat, x.shape))

    def _set_moments(self, sums: Tensor, autocorrelation: Tensor) -> None:
        """From the sum (B O,) of each picture's pixels and R (O, 15)."""
        total = sums.double().view(-1, self.lines.shape[-1]).sum(0, keepdim=True)
        self.mean = torch.cat((total, self.rim_sums)).t() @ self.of_sums
        products = torch.cat((autocorrelation, self.rim_products), 1)
        self.second = (products @ self.of_products).unflatten(1, (9, 9))

    def make_exact(self, x: Tensor) -> bool:
        """Sum numbers of 8 binary digits first, then what they lack.

        Their products and short sums have no error.
        """
        both = _side_by_side(x)
        high = both.bfloat16().to(x.dtype)
        low = both - high
        first, second, third = ((high, high), (low, high), (both, low))
        exact = _correlation(*first, x.shape) + _correlation(*second, x.shape) + _correlation(*third, x.shape)
        self._set_moments(high.sum(0).double() + low.sum(0).double(), exact)
        return True

    def times_covariance(self, kernels: Tensor) -> Tensor:
        along_mean = (kernels * self.mean).sum(-1, keepdim=True)
        return torch.bmm(kernels.transpose(0, 1), self.second).transpose(0, 1) - along_mean * self.mean

    def terms(self, kernels: Tensor) -> Tensor:
        return (kernels.abs() * self.second.diagonal(dim1=1, dim2=2).sqrt()).sum(-1).square()

    def convolve(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, _as_kernel(kernel, x), bias.to(x.dtype), padding=1, groups=x.shape[1])

    def kernel_gradient(self, x: Tensor, grad: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        taps = _as_kernel(kernel, x)
        through_kernel, _, _ = _convolution_backward(grad, x, taps, [True, False, False])
        at_once = max(1, _PIXELS_OF_GRADIENT // (x.shape[2] * x.shape[3]))
        parts = zip(grad.split(at_once), x.split(at_once), strict=True)
        gradients = [_convolution_backward(of_grad, of_x, taps, [False, True, True])[1:] for of_grad, of_x in parts]
        raw, total = (torch.stack(values).double().sum(0) for values in zip(*gradients, strict=True))
        return raw.flatten(1), total, through_kernel

    def input_gradient(self, x: Tensor, back: Backward) -> Tensor:
        by_channel = back.kernels.transpose(0, 1)
        by_second = torch.bmm((back.curvature.t().unsqueeze(2) * by_channel).transpose(1, 2), by_channel)
        by_mean = -back.pull.unsqueeze(1) * back.kernel - 2 * (by_second @ self.mean.unsqueeze(2)).squeeze(2)
        by_products = (by_second.flatten(1) @ self.of_products.t()).to(x.dtype)
        by_sums = (by_mean @ self.of_sums.t()).to(x.dtype)
        by_far, by_along, by_squares = by_products.split((len(_FAR), len(_ALONG), len(_CORNERS)), 1)
        by_all, by_lines, by_corners = by_sums.split((1, len(_SIDES), len(_CORNERS)), 1)
        half = F.pad(by_far.unflatten(1, (5, 3)), (2, 0))
        mirrored = (half + half.flip(1, 2)).unsqueeze(1)
        result = cast(Tensor, back.through_kernel)
        result += F.conv2d(x, mirrored, by_all.flatten(), padding=2, groups=x.shape[1])
        self._add_rim(result.permute(0, 2, 3, 1), by_along.unflatten(1, (4, 3)), by_lines, by_squares, by_corners)
        return result

    def _add_rim(
        self, result: Tensor, by_along: Tensor, by_lines: Tensor, by_squares: Tensor, by_corners: Tensor
    ) -> None:
        """Add to the gradient (B, H, W, O) what reaches it through the features of the rim."""
        height, width = result.shape[1:3]
        weights = by_along.permute(2, 1, 0)[:, :, None, None]
        lines = torch.addcmul(by_lines.t()[:, None, None], self.lines, weights[0], value=2)
        for distance in (1, 2):
            kept = _less(lines, distance)
            lines[:, :, distance:].addcmul_(self.lines[:, :, :kept], weights[distance])
            lines[:, :, :kept].addcmul_(self.lines[:, :, distance:], weights[distance])
        squares, corners = (by.t().unflatten(0, (2, 2)).unsqueeze(2) for by in (by_squares, by_corners))
        for number, end in enumerate((0, width - 1)):
            lines[:2, :, end] += 2 * squares[:, number] * self.lines[:2, :, end] + corners[:, number]
        result[:, 0] += lines[0, :, :width]
        result[:, -1] += lines[1, :, :width]
        result[:, :, 0] += lines[2, :, :height]
        result[:, :, -1] += lines[3, :, :height]


def _convolution_backward(grad: Tensor, x: Tensor, kernel: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    """Those wanted of the gradients of the input, the kernel and a bias, in the memory format of ``x``."""
    channels = x.shape[1]
    one, none = [1, 1], [0, 0]
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, x, kernel, [channels], one, one, one, False, none, channels, wanted
    )
    return gradients


def _as_kernel(taps: Tensor, like: Tensor) -> Tensor:
    return taps.to(like.dtype).reshape(-1, 1, 3, 3)


def _rim(x: Tensor) -> Tensor:
    """First and last row, first and last column: (4, B, L, O), the shorter ones followed by zeros."""
    maps = x.permute(0, 2, 3, 1)
    batch, height, width, channels = maps.shape
    if height == width:
        return torch.stack((maps[:, 0], maps[:, -1], maps[:, :, 0], maps[:, :, -1]))
    lines = x.new_zeros(4, batch, max(height, width), channels)
    lines[0, :, :width], lines[1, :, :width] = maps[:, 0], maps[:, -1]
    lines[2, :, :height], lines[3, :, :height] = maps[:, :, 0], maps[:, :, -1]
    return lines


def _less(lines: Tensor, distance: int) -> int:
    """Length of the lines without the last ``distance`` pixels."""
    return max(lines.shape[2] - distance, 0)


def _side_by_side(x: Tensor) -> Tensor:
    """Pixels, row after row, of the pictures beside each other as channels: ((H + 5)(W + 2), B O).

    One zero before, two after each row, and two rows of zeros above and below, so that bands of rows, and these moved
    by one column, are views.
    """
    batch, channels, height, width = x.shape
    flat = x.new_zeros((height + 5) * (width + 2), batch * channels)
    first = 2 * (width + 2) + 1
    pictures = flat[first : first + height * (width + 2)].view(height, width + 2, batch, channels)
    pictures[:, :width] = x.permute(2, 3, 0, 1)
    return flat


def _correlation(near: Tensor, far: Tensor, shape: torch.Size) -> Tensor:
    """R at the distances of ``_FAR`` of maps of that shape, both from :func:`_side_by_side`: (O, 15).

    A band of a picture is one sum in the type of the maps; those sums are added up in float64.
    """
    batch, channels, height, width = shape
    depth, wide = batch * channels, width + 2

    def band(flat: Tensor, first: int, last: int, moved: int) -> Tensor:
        part = flat[first * wide + moved : last * wide + moved]
        return part.view(1, last - first, wide, depth).permute(0, 3, 1, 2)

    bands = min(math.ceil(height * width / _PIXELS), height)
    sums = near.new_zeros(depth, len(_FAR), dtype=torch.float64)
    for number in range(bands):
        first, last = number * height // bands + 2, (number + 1) * height // bands + 2
        _, of_band, _ = torch.ops.aten.convolution_backward(
            band(near, first, last, 0), band(far, first - 2, last + 2, 1), near.new_empty(depth, 1, 5, 3), None,
            [1, 1], [0, 1], [1, 1], False, [0, 0], depth, [False, True, False],
        )  # fmt: skip
        sums += of_band.flatten(1)
    return sums.view(batch, channels, -1).sum(0)


@functools.lru_cache(maxsize=64)
def _assembly(pixels: int) -> tuple[Tensor, Tensor]:
    """How features of a batch add up to second moments, (31, 81), and to means, (9, 9)."""
    products = {name: index for index, name in enumerate((*_FAR, *_ALONG, *_CORNERS))}
    sums = {name: index for index, name in enumerate(("all", *_SIDES, *_CORNERS))}
    of_products, of_sums = torch.zeros(len(products), 81), torch.zeros(len(sums), 9)
    for one, (row, column) in enumerate(_TAPS):
        unseen = [name for name in (_UNSEEN_ROW.get(row), _UNSEEN_COLUMN.get(column)) if name is not None]
        of_sums[sums["all"], one] = 1
        for name in unseen:
            of_sums[sums[name], one] = -1
        if len(unseen) == 2:
            of_sums[sums[unseen[0], unseen[1]], one] = 1
        for two, (other_row, other_column) in enumerate(_TAPS):
            rows, columns = other_row - row, other_column - column
            far = (rows, columns) if columns >= 0 else (-rows, -columns)
            entry = 9 * one + two
            of_products[products[far], entry] = 1
            same_row, same_column = rows == 0 and row != 0, columns == 0 and column != 0
            if same_row:
                of_products[products[_UNSEEN_ROW[row], abs(columns)], entry] = -1
            if same_column:
                of_products[products[_UNSEEN_COLUMN[column], abs(rows)], entry] = -1
            if same_row and same_column:
                of_products[products[_UNSEEN_ROW[row], _UNSEEN_COLUMN[column]], entry] = 1
    return of_products.double() / pixels, of_sums.double() / pixels

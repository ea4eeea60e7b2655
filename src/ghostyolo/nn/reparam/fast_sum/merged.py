"""The sum of branches in training as ONE convolution, forward and backward.

In training a batch norm takes mean and variance from the batch, so that each branch seems to need its own output. It
does not: an output pixel is a kernel times a patch of the input, y = w . p, so that over all pixels

    mean(y) = w . mean(p)        var(y) = w^T Cov(p) w

Mean and covariance of the patches serve every branch. With s_j = gamma_j / sqrt(var_j + eps_j) the sum of the
normalised branches is the convolution with K = sum_j s_j w_j and bias sum_j (beta_j - s_j mean_j), and the gradient
goes back through K, the means and the covariance. Values, gradients and running statistics are those of the branches
one by one.

A :class:`Form` says what a patch is: ``pointwise``, a pixel's channels;
``depthwise``, a channel's 3x3 neighbourhood; ``dense``,
the neighbourhood in all channels. Letters: J branches, O output channels, T numbers of a patch, n output pixels of the
batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def memory_format(x: Tensor) -> torch.memory_format:
    """Whether channels are last in memory; of one channel, strides tell."""
    last = x.is_contiguous(memory_format=torch.channels_last) and x.stride(1) == 1
    return torch.channels_last if last else torch.contiguous_format


class Laid(torch.autograd.Function):
    """A map in another memory format; its gradient comes back in its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: torch.memory_format) -> Tensor:
        ctx.layout = memory_format(x)
        laid = x.contiguous(memory_format=layout)
        return x.clone() if laid is x else laid

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad.contiguous(memory_format=ctx.layout), None


@dataclass(frozen=True)
class Backward:
    """What goes back through a merged sum.

    Attributes:
        grad: gradient of the output map.
        kernel: (O, T), the merged kernel.
        through_kernel: from :meth:`Form.kernel_gradient`; may be written over.
        kernels: (J, O, T), those of the branches.
        curvature: (J, O), gradient of each branch's variance.
        pull: (O,), sum of ``grad``, with which the means pull the other way.
    """

    grad: Tensor
    kernel: Tensor
    through_kernel: Tensor | None
    kernels: Tensor
    curvature: Tensor
    pull: Tensor


class Form(ABC):
    """The moments of the patches of one input map ``x``.

    Kernels are (J, O, T), merged kernels (O, T).

    The map itself is handed in again, so that whoever saves memory between forward and backward can.
    """

    mean: Tensor
    """(T,), or (O, T) where each output channel has patches of its own."""
    pixels: int
    """n."""
    reliable: float
    """A variance below this part of :meth:`terms` has lost too many digits."""
    reliable_if_exact: float
    """The same after :meth:`make_exact`."""

    @abstractmethod
    def times_covariance(self, kernels: Tensor) -> Tensor:
        """Covariance of the patches times each kernel: (J, O, T)."""

    def make_exact(self, x: Tensor) -> bool:
        """Sum the second moments with more digits; whether there is such a way."""
        return False

    @abstractmethod
    def terms(self, kernels: Tensor) -> Tensor:
        """Return how large the terms of each variance were, (J, O).

        They were added and subtracted: far above the variance, digits are lost.
        """

    @abstractmethod
    def convolve(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        """Output map of the merged kernel."""

    @abstractmethod
    def kernel_gradient(self, x: Tensor, grad: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the gradient of the output map gives to the merged kernel.

        Returns:
            Sum over pixels of the gradient times the patch, (O, T), the sum of the gradient alone, (O,), and, where it
            comes with them, what reaches the input map through the merged kernel.
        """

    @abstractmethod
    def input_gradient(self, x: Tensor, back: Backward) -> Tensor:
        """Gradient of the input map, through the merged kernel and through the moments."""


class Statistics:
    """Mean and biased variance of each branch's output, (J, O).

    They come from the moments of the input's patches.

    ``kernels`` in the moments' precision.
    """

    def __init__(self, form: Form, kernels: Tensor) -> None:
        self.form, self.kernels = form, kernels
        self.kernels_covariance = form.times_covariance(kernels)
        self.mean = (kernels * form.mean).sum(-1)
        self.variance = (self.kernels_covariance * kernels).sum(-1)


class MergedSum(torch.autograd.Function):
    """Sum of J normalised branches: ``apply(x, kernels, weight, bias, eps, statistics, layout)``.

    ``kernels`` (J, O, T), ``weight`` and ``bias`` (J, O) of the batch norms, ``eps`` (J, 1); ``layout`` is the memory
    format of the sum and of the gradient of ``x``, whatever that of ``x`` is. Not twice differentiable.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernels: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: Tensor,
        statistics: Statistics,
        layout: torch.memory_format,
    ) -> Tensor:
        deviation = torch.rsqrt(statistics.variance + eps)
        scale = weight * deviation
        kernel = (scale.unsqueeze(-1) * statistics.kernels).sum(0)
        ctx.save_for_backward(x, kernels, weight, deviation, kernel)
        ctx.statistics, ctx.layout = statistics, layout
        total = statistics.form.convolve(x, kernel, (bias - scale * statistics.mean).sum(0))
        return total.contiguous(memory_format=layout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, _, weight, deviation, kernel = ctx.saved_tensors
        form, kernels = ctx.statistics.form, ctx.statistics.kernels
        grad = grad.contiguous(memory_format=memory_format(x))
        raw, total, through_kernel = form.kernel_gradient(x, grad, kernel)
        centred = raw - total.unsqueeze(-1) * form.mean
        along = (kernels * centred).sum(-1)
        curvature = -0.5 * weight * along * deviation**3
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = form.input_gradient(x, Backward(grad, kernel, through_kernel, kernels, curvature, total))
            grad_x = grad_x.contiguous(memory_format=ctx.layout)
        grad_kernels = (weight * deviation).unsqueeze(-1) * centred
        grad_kernels = grad_kernels + 2 * curvature.unsqueeze(-1) * ctx.statistics.kernels_covariance
        # Parameters keep what they are given, and add to it in place: each its own memory.
        grads = (grad_kernels, deviation * along, total.repeat(len(along), 1))
        return grad_x, *(value.to(weight.dtype) for value in grads), None, None, None

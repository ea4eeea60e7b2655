"""Which way the branches of a container are summed in training.

One by one, stacked, strided or merged.

One by one is the definition, and what is used wherever something is special: other devices than the CPU, where the
other ways were not measured, autocast, synchronised batch norms, hooks on a branch, norms in different modes,
compilers and tracers, evaluation. All ways give the same outputs, gradients and running statistics but for rounding;
the merged and the strided one cannot be differentiated twice.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.nn.reparam.fast_sum.dense import DenseForm
from ghostyolo.nn.reparam.fast_sum.depthwise import DepthwiseForm
from ghostyolo.nn.reparam.fast_sum.merged import Form, Laid, MergedSum, Statistics, memory_format
from ghostyolo.nn.reparam.fast_sum.pointwise import PointwiseForm
from ghostyolo.nn.reparam.fast_sum.strided import StridedSum

if TYPE_CHECKING:
    from ghostyolo.nn.reparam.container import ConvNorm, RepConv

# What the passes over a branch's output cost, in multiply-accumulates a value.
_PASSES = 40
# What the many small steps of the merged depthwise form cost, in gains of one branch a value: in all, and a channel.
_STEPS, _STEPS_OF_A_CHANNEL = 330_000, 500
# Pixels of a channel up to which batch norms lose no digits that matter where channels are last in memory.
_SHORT = 4096


_ONE_BY_ONE: ContextVar[bool] = ContextVar("one_by_one", default=False)


@contextlib.contextmanager
def one_by_one() -> Iterator[None]:
    """Sum all branches one by one inside: the reference of tests and benchmarks."""
    token = _ONE_BY_ONE.set(True)
    try:
        yield
    finally:
        _ONE_BY_ONE.reset(token)


def sum_at_once(container: RepConv, x: Tensor) -> Tensor | None:
    """Return the sum of a container's branches in training.

    It is None where they have to be summed one by one.

    Updates the running statistics of the batch norms as they would.
    """
    if not _is_plain(container, x):
        return None
    convs = [cast("ConvNorm", branch).conv for branch in container.branches]
    conv = convs[0]
    depthwise = conv.groups == conv.in_channels == conv.out_channels
    if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1 and len(container.norms()) > 1:
        return _pointwise(container, x, convs)
    if not depthwise:
        return _dense(container, x, convs) if conv.groups == 1 and conv.kernel_size[0] > 1 else None
    channels_first = memory_format(x) == torch.contiguous_format
    if conv.stride == (2, 2) and (conv.kernel_size == (5, 5) or (conv.kernel_size == (3, 3) and channels_first)):
        return _strided(container, x, convs)
    if conv.kernel_size == (3, 3) and conv.stride == (1, 1) and _pays(x, len(convs)):
        return _depthwise(container, x, convs)
    if conv.stride == (1, 1) and channels_first and x.numel() // x.shape[1] <= _SHORT:
        # Depthwise convolutions are about twice as fast where channels are last in memory, copies included.
        total = container.sum_one_by_one(Laid.apply(x, torch.channels_last))
        return cast(Tensor, Laid.apply(total, torch.contiguous_format))
    return None


def _pays(x: Tensor, branches: int) -> bool:
    """Whether merged depthwise branches are faster: measured on x86, benchmarks/studies/branch_container.py."""
    return x.numel() * (branches - 0.75) >= _STEPS + _STEPS_OF_A_CHANNEL * x.shape[1]


def _is_plain(container: RepConv, x: Tensor) -> bool:
    """Whether all is as usual: a batch on the CPU in the weights' type, stock modules in training, nobody watching."""
    if not container.training or type(x) not in (Tensor, nn.Parameter) or x.device.type != "cpu" or x.dim() != 4:
        return False
    special = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    special = special or torch._C._are_functorch_transforms_active()
    if special or torch.jit.is_tracing() or _ONE_BY_ONE.get():  # type: ignore[attr-defined]
        return False
    conv = cast("ConvNorm", container.branches[0]).conv
    padding = (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)
    usual = (conv.dilation, conv.padding, conv.padding_mode) == ((1, 1), padding, "zeros")
    if not usual or x.dtype not in (torch.float32, torch.float64):
        return False
    units = [*container.branches] if container.pointwise is None else [*container.branches, container.pointwise]
    return (
        not any(_is_watched(unit) or not _is_stock_conv(cast("ConvNorm", unit).conv, x.dtype) for unit in units)
        and all(_is_stock_norm(norm) for norm in container.norms())
        and not _is_watched(container.branches)
    )


def _is_stock_conv(conv: nn.Conv2d, dtype: torch.dtype) -> bool:
    return type(conv) is nn.Conv2d and conv.weight.dtype == dtype and conv.bias is None and not _is_watched(conv)


def _is_stock_norm(norm: nn.BatchNorm2d) -> bool:
    """Whether this is a batch norm of the batch, with weight, bias and running statistics."""
    usual = type(norm) is nn.BatchNorm2d and norm.training and norm.track_running_stats and norm.affine
    return usual and not _is_watched(norm)


def _is_watched(module: nn.Module) -> bool:
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(hooks) or "forward" in vars(module)


def _pointwise(container: RepConv, x: Tensor, convs: list[nn.Conv2d]) -> Tensor | None:
    norms, conv, pixels = container.norms(), convs[0], x.numel() // x.shape[1]
    if pixels < 2:
        return None  # the batch norms have words for it
    merged, stacked = _costs(conv, len(norms), pixels)
    if merged <= stacked:
        kernels = [conv.weight.flatten(1) for conv in convs]
        if container.identity is not None:
            kernels.append(torch.eye(conv.in_channels, dtype=x.dtype))
        return _merged(container, x, torch.stack(kernels), PointwiseForm)
    if container.identity is None and len({(norm.eps, norm.momentum) for norm in norms}) == 1:
        return _stacked(container, x, convs)
    return None


def _costs(conv: nn.Conv2d, count: int, pixels: int) -> tuple[float, float]:
    """Multiply-accumulates a pixel of 1x1 branches merged and stacked, forward and backward."""
    given, made = conv.in_channels, conv.out_channels
    merged = 3 * given * made + 2 * given**2 + 2 * count * made * given**2 / pixels
    return merged, 3 * count * given * made + _PASSES * count * made


def _depthwise(container: RepConv, x: Tensor, convs: list[nn.Conv2d]) -> Tensor | None:
    kernels = [conv.weight.flatten(1) for conv in convs]
    if container.pointwise is not None:
        kernels.append(F.pad(container.pointwise.conv.weight.flatten(1), (4, 4)))
    if container.identity is not None:
        kernels.append(F.pad(torch.ones(x.shape[1], 1, dtype=x.dtype), (4, 4)))
    return _merged(container, x, torch.stack(kernels), DepthwiseForm)


def _dense(container: RepConv, x: Tensor, convs: list[nn.Conv2d]) -> Tensor | None:
    conv, count = convs[0], len(container.norms())
    side, stride = conv.kernel_size[0], conv.stride[0]
    square = conv.kernel_size == (side, side) and side % 2 == 1 and conv.stride == (stride, stride)
    if not square or count == 1:
        return None
    taps, made, directions = conv.weight[0].numel(), conv.out_channels, 3 if x.requires_grad else 2
    merged = directions * taps * made + (2 + 3 * x.requires_grad) * taps**2  # sums of float64 count twice
    if merged > directions * count * taps * made + _PASSES * count * made:
        return None
    around = [side // 2] * 4
    kernels = [conv.weight.flatten(1) for conv in convs]
    if container.pointwise is not None:
        kernels.append(F.pad(container.pointwise.conv.weight, around).flatten(1))
    if container.identity is not None:
        points = torch.eye(x.shape[1], dtype=x.dtype)[:, :, None, None]
        kernels.append(F.pad(points, around).flatten(1))
    return _merged(container, x, torch.stack(kernels), functools.partial(DenseForm, side=side, stride=stride))


def _strided(container: RepConv, x: Tensor, convs: list[nn.Conv2d]) -> Tensor | None:
    pixels = len(x) * ((x.shape[2] + 1) // 2) * ((x.shape[3] + 1) // 2)
    if pixels < 2:
        return None
    kernels = torch.stack([conv.weight for conv in convs])
    points = [] if container.pointwise is None else [container.pointwise.conv.weight.flatten()]
    stacked = torch.stack(points) if points else x.new_zeros(0, x.shape[1])
    maps = x.contiguous(memory_format=torch.channels_last)
    total, mean, variance = StridedSum.apply(maps, kernels, stacked, *_affine(container), memory_format(x))
    _update(container, mean, variance, pixels)
    return cast(Tensor, total)


def _merged(container: RepConv, x: Tensor, kernels: Tensor, form: Callable[[Tensor], Form]) -> Tensor | None:
    maps = x.contiguous(memory_format=memory_format(x) if form is PointwiseForm else torch.channels_last)
    with torch.no_grad():
        statistics = _reliable_statistics(form(maps), maps, kernels)
    if statistics is None:
        return None
    total = MergedSum.apply(maps, kernels, *_affine(container), statistics, memory_format(x))
    _update(container, statistics.mean, statistics.variance, statistics.form.pixels)
    return cast(Tensor, total)


def _reliable_statistics(moments: Form, maps: Tensor, kernels: Tensor) -> Statistics | None:
    """Means and variances with as many digits as they need, or None if a variance is next to nothing."""
    if moments.pixels < 2:
        return None  # the batch norms have words for it
    statistics = Statistics(moments, kernels.to(moments.mean.dtype))
    least = float((statistics.variance / moments.terms(statistics.kernels)).min())
    if least >= moments.reliable:
        return statistics
    if not least >= moments.reliable_if_exact or not moments.make_exact(maps):
        return None
    return Statistics(moments, statistics.kernels)


def _stacked(container: RepConv, x: Tensor, convs: list[nn.Conv2d]) -> Tensor:
    """One convolution and one batch norm for all branches, then the sum."""
    norms, channels = container.norms(), convs[0].out_channels
    outputs = F.conv2d(x, torch.cat([conv.weight for conv in convs]))
    mean = torch.cat([cast(Tensor, norm.running_mean) for norm in norms])
    variance = torch.cat([cast(Tensor, norm.running_var) for norm in norms])
    factor = min(_count_batch(norm) for norm in norms)  # they are all the same
    weight, bias = torch.cat([norm.weight for norm in norms]), torch.cat([norm.bias for norm in norms])
    first, *others = F.batch_norm(outputs, mean, variance, weight, bias, True, factor, norms[0].eps).split(channels, 1)
    for norm, new_mean, new_variance in zip(norms, mean.split(channels), variance.split(channels), strict=True):
        norm.running_mean.copy_(new_mean)  # type: ignore[union-attr]
        norm.running_var.copy_(new_variance)  # type: ignore[union-attr]
    return sum(others, start=first)


def _affine(container: RepConv) -> tuple[Tensor, Tensor, Tensor]:
    """Weight and bias (J, O) and eps (J, 1) of all batch norms."""
    norms = container.norms()
    weight, bias = torch.stack([norm.weight for norm in norms]), torch.stack([norm.bias for norm in norms])
    return weight, bias, torch.tensor([[norm.eps] for norm in norms], dtype=weight.dtype)


def _update(container: RepConv, mean: Tensor, variance: Tensor, pixels: int) -> None:
    """Move the running statistics as the batch norms do, which keep the unbiased variance."""
    norms = container.norms()
    of_batch = torch.cat((mean, variance * (pixels / (pixels - 1)))).to(norms[0].weight.dtype).unbind()
    running = [cast(Tensor, norm.running_mean) for norm in norms] + [cast(Tensor, norm.running_var) for norm in norms]
    factors = [_count_batch(norm) for norm in norms]
    if len(set(factors)) == 1:
        torch._foreach_lerp_(running, of_batch, factors[0])
        return
    for moved, towards, factor in zip(running, of_batch, factors * 2, strict=True):
        moved.lerp_(towards, factor)


def _count_batch(norm: nn.BatchNorm2d) -> float:
    """Count the batch, as ``forward`` does; the weight of its statistics among the running ones."""
    counted = cast(Tensor, norm.num_batches_tracked).add_(1)
    return 1 / float(counted) if norm.momentum is None else norm.momentum

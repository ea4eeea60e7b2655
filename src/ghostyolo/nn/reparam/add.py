"""Give any network training branches, as GhostNetV3 has them (arXiv 2404.11202, section 3.2)."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.nn.reparam.container import ConvNorm, RepConv
from ghostyolo.nn.reparam.folding import deploys_itself, replace_everywhere
from ghostyolo.nn.reparam.norms import Norm, remains_of
from ghostyolo.nn.reparam.pairs import ConvNormPair, Example, find_pairs

Kind = Literal["pointwise", "depthwise", "dense"]
Init = Literal["keep", "fresh"]


def add_branches(
    model: nn.Module,
    n: int = 3,
    *,
    kinds: Collection[Kind] = ("pointwise", "depthwise"),
    pointwise: bool = True,
    identity: bool = True,
    init: Init = "keep",
    example: Example | None = None,
) -> nn.Module:
    """Return a copy of a network that has training branches.

    Convolutions with a batch norm become branch containers (:class:`RepConv`).

    ``fold`` makes the plain network of it again. A container stands under the convolution's name::

        <conv>.branches.{i}.conv.weight, <conv>.branches.{i}.norm.*    i < n, convolutions like the one that was there
        <conv>.pointwise.conv.weight,    <conv>.pointwise.norm.*       the 1x1 branch beside a larger kernel
        <conv>.identity.*                                              the batch norm of the input itself

    and where the batch norm was is an identity, or the activation that it held (timm's ``BatchNormAct2d``), as
    ``<norm>.act``. A module with ``fuse()`` that is just the two (our :class:`ConvNorm`, RepViT's) becomes a container
    as a whole, under its own name.

    With ``init="keep"`` the trained convolution and batch norm are the first branch, and the batch norms of the others
    begin with weight 0: right after, outputs equal the original's, in evaluation and in training. A branch of weight 0
    is not dead: the gradient of its weight is the correlation of its normalised map with the loss, so that it is
    non-zero after one step and the convolution learns from the next one on (the usual start of residual branches, arXiv
    1706.02677, section 5.1). Fresh kernels make the branches differ; copies of the trained one would all get the
    same gradient for ever. ``init="fresh"`` starts every branch afresh with weight 1, as the paper trains from scratch.

    Args:
        model: any network; it is left as it was.
        n: branches of a container, at least 1. Published choice: 3.
        kinds: ``"pointwise"`` (1x1) and ``"depthwise"`` as published; ``"dense"`` is every other convolution.
        pointwise: add the 1x1 branches. They, and identities, are left out where they would not fold exactly, see
            :meth:`RepConv.like`.
        identity: add the identities, where input and output have one shape.
        init: ``"keep"`` or ``"fresh"``.
        example: an input of the network, see :func:`fold`.

    Left as they are: what :func:`fold` leaves alone, frozen batch norms, convolutions that are not two-dimensional, and
    modules that have branches or a merging of their own (timm's RepVGG, FastViT, ...).

    Raises:
        ConfigError: an impossible option, nothing in the network that branches could be added to, or a network for
            which an example is needed.
    """
    if n < 1:
        raise ConfigError(f"add_branches needs n of at least 1, got {n}")
    for given, valid in (*((kind, Kind) for kind in kinds), (init, Init)):
        if given not in get_args(valid):
            raise ConfigError(f"add_branches does not know '{given}': {suggest(given, get_args(valid))}")
    if not kinds:
        raise ConfigError(f"add_branches was given no kinds of convolutions: {suggest('', get_args(Kind))}")
    branched = copy.deepcopy(model)
    replacements: dict[nn.Module, nn.Module] = {}
    for conv, norm, unit in _places(branched, example):
        if kind_of(conv) not in kinds:
            continue
        container = RepConv.like(conv, norm, n, pointwise, identity)
        if init == "keep":
            _keep(container, conv, norm)
        if unit is None:
            replacements |= {conv: container, norm: remains_of(norm)}
        else:
            container.act = unit.act if isinstance(unit, ConvNorm) else remains_of(norm)
            replacements[unit] = container
    if not replacements:
        wanted = ", ".join(kinds)
        raise ConfigError(f"{type(model).__name__} has no convolution with a batch norm to add branches to ({wanted})")
    if branched in replacements:
        return replacements[branched]
    replace_everywhere(branched, replacements)
    return branched


def kind_of(conv: nn.Conv2d) -> Kind:
    """What a convolution is to :func:`add_branches`."""
    if conv.kernel_size == (1, 1):
        return "pointwise"
    return "depthwise" if conv.groups == conv.in_channels > 1 else "dense"


def _places(model: nn.Module, example: Example | None) -> list[tuple[nn.Conv2d, Norm, nn.Module | None]]:
    """Convolution, batch norm, and the unit that is just these two, of every place where a container can stand."""
    units = {_conv_of_unit(module): module for module in model.modules()}
    # A method that merges a module's own convolutions and norms would find containers in their place. The network as a
    # whole may have one that only walks (RepViT): fold does not call it once containers are inside.
    taken = {
        child
        for module in model.modules()
        if deploys_itself(module) and module is not model and module not in units.values()
        for child in module.modules()
    }
    return [
        (conv, norm, units.get(conv))
        for conv, norm in _pairs_in_evaluation(model, example)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, _BatchNorm) and conv not in taken
    ]


def _conv_of_unit(module: nn.Module) -> nn.Module | None:
    """The convolution of a module with ``fuse()`` that is a convolution and a batch norm and no more, else None."""
    if isinstance(module, ConvNorm) and type(module).forward is ConvNorm.forward:
        return module.conv
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward and deploys_itself(module):
        return module[0] if len(module) == 2 else None
    return None


def _pairs_in_evaluation(model: nn.Module, example: Example | None) -> list[ConvNormPair]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    pairs = find_pairs(model, example)
    for module, training in modes.items():
        module.training = training
    return pairs


@torch.no_grad()
def _keep(container: RepConv, conv: nn.Conv2d, norm: Norm) -> None:
    """Make the first branch the trained convolution and batch norm, and the others nothing yet."""
    first = cast(ConvNorm, container.branches[0])
    first.conv.weight.copy_(conv.weight)
    first.conv.weight.requires_grad_(conv.weight.requires_grad)
    for name, value in norm.named_parameters(recurse=False):
        getattr(first.norm, name).copy_(value).requires_grad_(value.requires_grad)
    if norm.weight is None:  # not affine: 1 and 0 for ever
        first.norm.requires_grad_(False)
    for name, value in norm.named_buffers(recurse=False):
        getattr(first.norm, name).copy_(value)
    if conv.bias is not None:  # branches have none; a constant before a batch norm only moves its mean
        cast(Tensor, first.norm.running_mean).sub_(conv.bias)
    for added in container.norms()[1:]:
        nn.init.zeros_(added.weight)

"""Folds branches and batch norms of a network into plain convolutions."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterator

import torch
from torch import nn

from ghostyolo.nn.reparam.container import ConvNorm, RepConv
from ghostyolo.nn.reparam.convs import plain_conv
from ghostyolo.nn.reparam.norms import fold_batch_norm, is_batch_norm, remains_of
from ghostyolo.nn.reparam.pairs import Example, find_pairs

_METHODS = ("fuse", "reparameterize", "switch_to_deploy")


def fold(model: nn.Module, example: Example | None = None) -> nn.Module:
    """Return a copy of ``model`` in evaluation mode with all folded away.

    That is every branch, and every batch norm behind a convolution.

    The copy's outputs equal those of ``model.eval()`` but for rounding. First, modules with a way of their own take
    it: those with a method ``fuse()`` (ours, and timm's LeViT, RepViT, ...) are replaced by what it returns, those
    with ``reparameterize()`` or ``switch_to_deploy()`` (timm's RepVGG, FastViT, ...) change in place; both are
    trusted, but not called where a :class:`RepConv` is inside, whose parts they do not know unless
    ``knows_containers`` is set. Then each pair of a convolution and a batch norm that
    :func:`~ghostyolo.nn.reparam.pairs.find_pairs` proves is folded: the convolution keeps its name, class and geometry
    and gets the folded kernel and a bias; in the batch norm's place stays an identity, or the activation that it held
    (``BatchNormAct2d``), as its child ``act``.

    Folding twice does no harm. Any padding, padding mode, stride, dilation, grouping and bias fold exactly. Left alone
    are: batch norms that stand before their convolution, follow a linear layer or a transposed convolution, or have no
    running statistics; convolutions whose output is also used elsewhere, or whose weight is computed anew at each call
    (weight norm, standardised kernels); modules with forward hooks; and whatever the run of one example does not reach.

    Args:
        model: any network; it is left as it was.
        example: an input of the network (a tensor, or a tuple of its arguments). Needed only by networks with batch
            norms that have no ``fuse()`` and that run on no picture of a usual size.

    Raises:
        ConfigError: an example is needed.
    """
    folded = copy.deepcopy(model).eval()
    with torch.no_grad():
        folded = _deploy(folded, {})
        replacements: dict[nn.Module, nn.Module] = {}
        for conv, norm in find_pairs(folded, example):
            replacements[conv] = plain_conv(conv, *fold_batch_norm(conv.weight, norm, conv.bias))
            replacements[norm] = remains_of(norm)
        replace_everywhere(folded, replacements)
    return folded


def is_folded(model: nn.Module, example: Example | None = None) -> bool:
    """Whether :func:`fold` has nothing left to do.

    Batch norms that cannot be folded may be left, see :func:`fold`. Arguments and errors are those of :func:`fold`.
    """
    if any(isinstance(module, ConvNorm | RepConv) or _fuses_a_norm(module) for module in model.modules()):
        return False
    if not any(is_batch_norm(module) for module in model.modules()):
        return True
    return not find_pairs(copy.deepcopy(model).eval(), example)


def deploys_itself(module: nn.Module) -> bool:
    """Whether the module has a method that turns it into its deployed form."""
    return any(has_method(module, name) for name in _METHODS)


def has_method(module: nn.Module, name: str) -> bool:
    """Whether the class itself has a method of that name without arguments."""
    method = getattr(type(module), name, None)
    if not callable(method):
        return False
    wanted = list(inspect.signature(method).parameters.values())[1:]
    return all(
        parameter.default is not parameter.empty or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        for parameter in wanted
    )


def replace_everywhere(model: nn.Module, replacements: dict[nn.Module, nn.Module]) -> None:
    """Put modules in the place of others, under every name they have."""
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in replacements:
                parent._modules[name] = replacements[child]


def _deploy(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """The deployed form of a module and of all in it; ``done`` has those met before, for shared modules."""
    if module in done:
        return done[module]
    deployed = module
    method = next((name for name in _METHODS if has_method(module, name)), None)
    if getattr(module, "reparam_conv", None) is not None:
        method = None  # timm's sign of a deployed block: not all of its methods can be called twice
    if method is not None and (getattr(module, "knows_containers", False) or not _holds_container(module)):
        with _made_alike(module):
            returned = getattr(module, method)()
        if isinstance(returned, nn.Module):  # else it changed in place
            deployed = returned
    done[module] = done[deployed] = deployed
    for name, child in deployed._modules.items():
        if child is not None:
            deployed._modules[name] = _deploy(child, done)
    return deployed


def _holds_container(module: nn.Module) -> bool:
    return any(isinstance(child, RepConv) and child is not module for child in module.modules())


@contextlib.contextmanager
def _made_alike(module: nn.Module) -> Iterator[None]:
    """Let a foreign ``fuse()`` make modules of the type and on the device of this one: some name neither."""
    like = next((tensor for tensor in module.parameters() if tensor.is_floating_point()), None)
    if like is None:
        yield
        return
    usual = torch.get_default_dtype()
    torch.set_default_dtype(like.dtype)
    try:
        with like.device:
            yield
    finally:
        torch.set_default_dtype(usual)


def _fuses_a_norm(module: nn.Module) -> bool:
    return has_method(module, "fuse") and any(is_batch_norm(child) for child in module.modules())

"""Finds where each stride of somebody else's network ends.

The network runs once, and its modules are watched.

Most networks are a chain at their top: each module takes what the one before it gave. The chain is followed here as
long as every module's only input is, as an object, the output before it; a plain ``nn.Sequential`` that holds several
strides is opened, a block never is. The last link of a stride is then its deepest feature map, whatever a library's own
list of features says.

One thing at the end is no feature: the 1x1 convolution with which many classifiers widen the last map before they
average it (MobileNetV2's to 1280, MobileNetV3's to 960). It is cut off, with all that follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# An odd number of cells at stride 32: a network that only takes even ones would fail a detector at many sizes.
PROBE_HEIGHT, PROBE_WIDTH = 96, 160
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Link:
    """A module of the chain.

    Attributes:
        path: its name inside the network.
        channels: of its output.
        stride: of its output, None where that is not exactly (H / s, W / s).
        pointwise: it is nothing but ungrouped 1x1 convolutions with their norms and activations.
        overwritten: something after it works in place on its output.
    """

    path: str
    channels: int
    stride: int | None
    pointwise: bool = False
    overwritten: bool = False


@dataclass(frozen=True)
class _Call:
    """A call of a module. A tensor's version counts the operations in place on it, by modules or not."""

    order: int
    inputs: tuple[Any, ...]
    input_version: int
    output: Any
    output_version: int


def probe_image(net: nn.Module, in_channels: int) -> Tensor:
    """A blank picture of 96 x 160 on the network's device."""
    like = next(net.parameters())
    return torch.zeros(1, in_channels, PROBE_HEIGHT, PROBE_WIDTH, device=like.device, dtype=like.dtype)


def find_stage_ends(net: nn.Module, in_channels: int, strides: tuple[int, ...]) -> tuple[list[Link], list[int]] | None:
    """The chain, and the index in it of the deepest link of each stride.

    Args:
        net: in any mode; run once in evaluation, with a blank picture.

    Returns:
        None where the network is no chain up to the end of the last stride.

    Raises:
        Exception: whatever the network raises when it cannot take a picture of 96 x 160.
    """
    image = probe_image(net, in_channels)
    calls = _record(net, image)
    modules = dict(net.named_modules())
    chain = []
    x = image
    for path, output in _follow("", image, modules, calls):
        channels = output.shape[1] if output.ndim == 4 else 0
        call = calls[path]
        overwritten = call is not None and call.output_version != output._version
        chain.append(Link(path, channels, _stride(output), _is_pointwise(path, x, modules, calls), overwritten))
        x = output
    ends = _last_links(chain, strides)
    if ends is None or _goes_on(_order(calls[chain[ends[-1]].path]), modules, calls):
        return None
    return chain, ends


def _last_links(chain: list[Link], strides: tuple[int, ...]) -> list[int] | None:
    ends = []
    for stride in strides:
        here = [index for index, link in enumerate(chain) if link.stride == stride]
        if stride == strides[-1]:
            # Its first link brings the map to this stride and is no head, even where it is a strided 1x1 convolution.
            widening = [position for position, index in enumerate(here) if position and chain[index].pointwise]
            here = here[: widening[0]] if widening else here
        if not here:
            return None
        ends.append(here[-1])
    return ends if ends == sorted(ends) else None


def _goes_on(end: float, modules: dict[str, nn.Module], calls: dict[str, _Call | None]) -> bool:
    """Whether maps are still filtered after the chain's end: it broke too early, or their size is not exact."""
    for path, call in calls.items():
        module = modules[path]
        filters = isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and module.kernel_size not in (1, (1, 1))
        if call is not None and call.order > end and filters and call.output.shape[2:].numel() > 1:
            return True
    return False


def _record(net: nn.Module, image: Tensor) -> dict[str, _Call | None]:
    """Every module's call by its path; None for a module that was called more than once."""
    calls: dict[str, _Call | None] = {}
    handles = []

    def watch(path: str, module: nn.Module) -> None:
        begun: list[int] = []

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            begun.append(_version(args[0] if args else None))

        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            call = _Call(len(calls), (*args, *kwargs.values()), begun[-1], output, _version(output))
            calls[path] = None if path in calls else call

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after, with_kwargs=True))

    for path, module in net.named_modules():
        watch(path, module)
    training = {module: module.training for module in net.modules()}
    try:
        with torch.no_grad():
            net.eval()(image)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    return calls


def _follow(
    path: str, x: Tensor, modules: dict[str, nn.Module], calls: dict[str, _Call | None]
) -> list[tuple[str, Tensor]]:
    """Path and output of the children of ``path`` that form a chain from ``x`` on, sequences of strides opened."""
    outputs: list[tuple[str, Tensor]] = []
    version = None
    for child in sorted(_called(path, modules, calls), key=lambda child: _order(calls[child])):
        call = calls[child]
        if not _takes(call, x, version) or call is None or not isinstance(call.output, Tensor):
            break
        inside = _follow(child, x, modules, calls) if type(modules[child]) is nn.Sequential else []
        x, version = call.output, call.output_version
        if inside and inside[-1][1] is x and len({_stride(output) for _, output in inside}) > 1:
            outputs += inside
        else:
            outputs.append((child, x))
    return outputs


def _takes(call: _Call | None, x: Tensor, version: int | None) -> bool:
    """Whether a call's only input is ``x``, as it was left: nothing but modules may have worked on it in place."""
    return (
        call is not None
        and len(call.inputs) == 1
        and call.inputs[0] is x
        and (version is None or call.input_version == version)
    )


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) else 0


def _called(path: str, modules: dict[str, nn.Module], calls: dict[str, _Call | None]) -> list[str]:
    """Children that were called; one that only holds others (a ``ModuleList``) stands for those."""
    names = []
    for name, _ in modules[path].named_children():
        child = f"{path}.{name}" if path else name
        names += [child] if child in calls else _called(child, modules, calls)
    return names


def _order(call: _Call | None) -> float:
    return float("inf") if call is None else call.order


def _stride(output: Tensor) -> int | None:
    if output.ndim != 4 or 0 in output.shape:
        return None
    height, width = output.shape[2:]
    if PROBE_HEIGHT % height or PROBE_WIDTH % width or PROBE_HEIGHT // height != PROBE_WIDTH // width:
        return None
    return PROBE_HEIGHT // height


def _is_pointwise(path: str, x: Tensor, modules: dict[str, nn.Module], calls: dict[str, _Call | None]) -> bool:
    """Whether a link is a plain chain of 1x1 convolutions, norms and modules without parameters (no attention)."""
    convolutions = 0
    version = None
    for leaf in sorted(_leaves(path, modules, calls), key=lambda leaf: _order(calls[leaf])):
        call, module = calls[leaf], modules[leaf]
        if not _takes(call, x, version) or call is None:
            return False
        if isinstance(module, nn.Conv2d):
            if module.kernel_size != (1, 1) or module.groups != 1:
                return False
            convolutions += 1
        elif not isinstance(module, _NORMS) and any(True for _ in module.parameters()):
            return False
        x, version = call.output, call.output_version
    call = calls[path]
    return convolutions > 0 and call is not None and call.output is x


def _leaves(path: str, modules: dict[str, nn.Module], calls: dict[str, _Call | None]) -> list[str]:
    """Called modules below ``path`` that call no others; a norm counts as one though it may hold its activation."""
    inside = [] if isinstance(modules[path], _NORMS) else _called(path, modules, calls)
    return [leaf for child in inside for leaf in _leaves(child, modules, calls)] or [path]

"""Which batch norm takes which convolution's output, in any network.

It is seen by running the network once.

What a network registers says nothing of the order in which it calls, and a symbolic trace believes a stand-in for the
tensor (an ``isinstance`` in ``forward`` then takes the wrong way, unnoticed; many networks cannot be traced at all). So
one input is run and every tensor operation is watched. A pair is proven when

- each output of the convolution went into that batch norm and nowhere else: into no other operation, in place or not,
  and not out of the network;
- each input of the batch norm was an output of that convolution;
- no operation outside the two modules read their parameters, no hook hangs on them, and nothing but ``_modules`` was
  seen to hold them.

Both may run many times, as heads shared by several levels do.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ghostyolo.errors import ConfigError
from ghostyolo.nn.reparam.convs import Conv, is_plain_conv
from ghostyolo.nn.reparam.norms import is_batch_norm

Example = Tensor | tuple[Any, ...]
"""An input of the network: its one tensor, or all its positional arguments."""

_SIZES = (224, 64, 256, 299, 384, 512)


class ConvNormPair(NamedTuple):
    """A convolution and the batch norm that alone takes its output."""

    conv: Conv
    norm: nn.Module


def find_pairs(model: nn.Module, example: Example | None = None) -> list[ConvNormPair]:
    """Return the proven pairs of a network in the order in which they run.

    Args:
        model: in evaluation mode; it is run and not changed.
        example: an input to run. Without one, pictures of usual sizes are tried.

    Raises:
        ConfigError: no example was given and none that was made up can be run.
    """
    held = _held_elsewhere(model)
    candidates = [module for module in model.modules() if not _has_hooks(module) and module not in held]
    convs = [module for module in candidates if isinstance(module, Conv) and is_plain_conv(module)]
    norms = [module for module in candidates if is_batch_norm(module)] if convs else []
    if not norms:
        return []
    if example is not None:
        return _Watch(convs, norms).run(model, example).pairs()
    problem: Exception | None = None
    for picture in _made_up(model, convs[0]):
        try:
            return _Watch(convs, norms).run(model, picture).pairs()
        except Exception as error:  # any error of any network: this size does not suit it
            problem = problem or error
    reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    raise ConfigError(
        f"cannot see how {type(model).__name__} connects its convolutions and batch norms, for it runs on no made-up "
        f"picture ({reason}): give an input that it takes as `example`"
    )


class _Watch(TorchDispatchMode):
    """Watches one run. Convolution outputs are kept until its end, so that their identities stay theirs."""

    def __init__(self, convs: list[Conv], norms: list[nn.Module]) -> None:
        super().__init__()
        self.convs, self.norms = convs, set(norms)
        self.running: list[nn.Module] = []
        self.outputs: dict[int, tuple[Tensor, Conv]] = {}
        self.takers: dict[Conv, set[nn.Module | None]] = defaultdict(set)
        self.sources: dict[nn.Module, set[Conv | None]] = defaultdict(set)
        self.owners: dict[int, set[nn.Module]] = defaultdict(set)
        self.exposed: set[nn.Module] = set()
        for module in (*convs, *norms):
            for tensor in (*module.parameters(), *module.buffers()):
                self.owners[id(tensor)].add(module)

    def run(self, model: nn.Module, example: Example) -> _Watch:
        handles = []
        for module in (*self.convs, *self.norms):
            handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
            handles.append(module.register_forward_hook(self._leave))
        try:
            with torch.no_grad(), self:
                output = model(*(example if isinstance(example, tuple) else (example,)))
        finally:
            for handle in handles:
                handle.remove()
        for tensor in _tensors(output):
            self._take(tensor, None)
        return self

    def pairs(self) -> list[ConvNormPair]:
        pairs = []
        for conv, takers in self.takers.items():
            norm = next(iter(takers))
            if (
                norm is not None
                and takers == {norm}
                and self.sources[norm] == {conv}
                and not self.exposed & {conv, norm}
                and len(norm.running_mean) == conv.out_channels  # type: ignore[arg-type]
            ):
                pairs.append(ConvNormPair(conv, norm))
        return pairs

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        here = self.running[-1] if self.running else None
        for tensor in _tensors((args, kwargs)):
            self._take(tensor, here)
            owners = self.owners.get(id(tensor))
            if owners is not None and here not in owners:
                self.exposed |= owners
        return func(*args, **(kwargs or {}))

    def _take(self, tensor: Tensor, taker: nn.Module | None) -> None:
        if id(tensor) in self.outputs:
            self.takers[self.outputs[id(tensor)][1]].add(taker)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.running.append(module)
        if module in self.norms:
            given = _tensors((args, kwargs))
            source = self.outputs.get(id(given[0])) if len(given) == 1 else None
            self.sources[module].add(source[1] if source is not None else None)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.running.pop()
        if isinstance(module, Conv) and isinstance(output, Tensor):
            self.outputs[id(output)] = (output, module)


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in containers and plain objects, each once."""
    tensors: list[Tensor] = []
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            tensors.append(item)
        elif isinstance(item, Mapping):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            waiting.extend(item)
        elif dataclasses.is_dataclass(item):
            waiting.extend(getattr(item, field.name) for field in dataclasses.fields(item))
        elif hasattr(item, "__dict__") and not isinstance(item, type | nn.Module):
            waiting.extend(vars(item).values())
    return tensors


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _held_elsewhere(model: nn.Module) -> set[nn.Module]:
    """Modules in plain attributes, lists and dictionaries of others: a replaced one would still be called there."""
    held: set[nn.Module] = set()
    for module in model.modules():
        for value in (value for name, value in vars(module).items() if name != "_modules"):
            items = value.values() if isinstance(value, dict) else value
            for item in items if isinstance(value, dict | list | tuple | set) else (value,):
                if isinstance(item, nn.Module):
                    held.update(item.modules())
    return held


def _made_up(model: nn.Module, first: Conv) -> Iterator[Tensor]:
    """Pictures to try: of the size that a timm network says it wants, then usual ones."""
    if not isinstance(first, nn.Conv2d):
        return
    generator = torch.Generator().manual_seed(0)
    sizes = dict.fromkeys((*_wanted_sizes(model), *((size, size) for size in _SIZES)))
    for channels in dict.fromkeys((first.in_channels, 3, 1)):
        for size in sizes:
            yield torch.rand(1, channels, *size, generator=generator).to(first.weight)


def _wanted_sizes(model: nn.Module) -> Iterator[tuple[int, int]]:
    for module in model.modules():
        config = getattr(module, "pretrained_cfg", None)
        size = config.get("input_size") if isinstance(config, Mapping) else None
        if isinstance(size, list | tuple) and len(size) == 3:
            yield int(size[1]), int(size[2])

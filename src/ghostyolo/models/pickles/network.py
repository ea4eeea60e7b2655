"""Finds the network inside a published file.

It has tensors by their names, class names, and what the file says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ghostyolo.errors import WeightsError
from ghostyolo.models.pickles.interpreter import Unbuilt, one_line
from ghostyolo.models.pickles.torch_file import TorchFile, View, open_torch_file

# Where the weights lie: averaged ones first, since these are what the programs themselves run.
_KEYS = ("ema", "state_dict_ema", "model_ema", "ema_state_dict", "model", "state_dict", "model_state_dict", "net")
_DEEPEST = 100


@dataclass(frozen=True)
class Published:
    """What a published file holds.

    Attributes:
        tensors: in their own precision, by the names that the file has, without the prefix of parallel training.
        class_names: None where the file does not say them.
        licence: as the file states it; empty: it states none.
        imgsz: side in pixels that it was trained at; None: not said.
    """

    path: Path
    tensors: dict[str, Tensor]
    class_names: list[str] | None = None
    licence: str = ""
    imgsz: int | None = None


def read_published(path: str | Path) -> Published:
    """Read a ``.safetensors`` file or what ``torch.save`` wrote; nothing in it is run.

    Raises:
        WeightsError: missing, damaged, hostile, or without a network's weights.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path} does not exist")
    if path.suffix == ".safetensors":
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is damaged or not a safetensors file: {error}") from error
        return Published(path, _named(tensors))
    with open_torch_file(path) as file:
        holder = _find_network(file.tree, str(path))
        views = dict(_module_tensors(holder) if isinstance(holder, Unbuilt) else _views(holder))
        if not views:
            raise WeightsError(f"{path} holds no network's weights")
        unprintable = next((name for name in views if not name.isprintable()), None)
        if unprintable is not None:
            raise WeightsError(f"{path} is damaged: a layer has the name {one_line(unprintable)}")
        tensors = {name: file.tensor(view) for name, view in views.items()}
        return Published(path, _named(tensors), _class_names(holder, file), _licence(file), _imgsz(holder, file))


def _named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _find_network(tree: Any, where: str) -> Any:
    """A module, or a dict of tensors."""
    for _ in range(3):  # an averaged state may lie in a dict of its own
        if isinstance(tree, Unbuilt) and isinstance(tree.attribute("_modules"), dict):
            return tree
        if not isinstance(tree, dict) or any(True for _ in _views(tree)):
            break
        key = next((key for key in _KEYS if isinstance(tree.get(key), (dict, Unbuilt))), None)
        if key is None:
            break
        tree = tree[key]
    if not isinstance(tree, dict) or not any(True for _ in _views(tree)):
        raise WeightsError(f"{where} holds no network's weights: neither a module nor a dict of tensors")
    return tree


def _views(state: Mapping[Any, Any]) -> Iterator[tuple[str, View]]:
    return ((name, value) for name, value in state.items() if isinstance(name, str) and isinstance(value, View))


def _module_tensors(module: Unbuilt) -> Iterator[tuple[str, View]]:
    """What the module's ``state_dict`` would hold."""
    waiting = [("", module, 0)]
    while waiting:
        prefix, holder, depth = waiting.pop()
        hidden = holder.attribute("_non_persistent_buffers_set") or ()
        for kind in ("_parameters", "_buffers"):
            held = holder.attribute(kind)
            for name, view in _views(held) if isinstance(held, dict) else ():
                if kind == "_parameters" or name not in hidden:
                    yield prefix + name, view
        children = holder.attribute("_modules")
        for name, child in children.items() if isinstance(children, dict) else ():
            if isinstance(child, Unbuilt) and depth < _DEEPEST:
                waiting.append((f"{prefix}{name}.", child, depth + 1))


def _class_names(holder: Any, file: TorchFile) -> list[str] | None:
    candidates = [holder.attribute("names")] if isinstance(holder, Unbuilt) else []
    if isinstance(file.tree, dict):
        candidates += [file.tree.get("names"), file.tree.get("class_names")]
    for names in candidates:
        if isinstance(names, dict):
            names = [names.get(number) for number in range(len(names))]
        if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
            return list(names)
    return None


def _licence(file: TorchFile) -> str:
    """The first word of what the file states, such as ``AGPL-3.0``."""
    stated = file.tree.get("license") if isinstance(file.tree, dict) else None
    return stated.split()[0] if isinstance(stated, str) and stated.split() else ""


def _imgsz(holder: Any, file: TorchFile) -> int | None:
    arguments = holder.attribute("args") if isinstance(holder, Unbuilt) else None
    if isinstance(arguments, Unbuilt):
        arguments = arguments.state
    if not isinstance(arguments, dict) and isinstance(file.tree, dict):
        arguments = file.tree.get("train_args")
    size = arguments.get("imgsz") if isinstance(arguments, dict) else None
    return size if isinstance(size, int) and size > 0 and size % 32 == 0 else None

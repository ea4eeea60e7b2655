"""Make our layers known to an imported ``ultralytics``, and take them back.

Three functions of that package are wrapped, each calling the original:

- ``nn.tasks.parse_model``: a YAML that names a ``ghostyolo.`` layer is built by :mod:`.parse`; any other as ever.
- ``nn.tasks.check_yaml``: the name of one of our files is found from any folder, unless there or in that package
  is a file of that name.
- ``nn.tasks.BaseModel.fuse``: our layers fold with that package's own, before validation, prediction and export.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
from collections.abc import Callable
from typing import Any

from ghostyolo.errors import MissingExtraError
from ghostyolo.extras import require
from ghostyolo.integrations.ultralytics.files import model_files

OLDEST, NEWEST_TESTED = "8.4.9", "8.4.190"
_NEEDED = ("parse_model", "check_yaml", "BaseModel", "Index", "C3k2", "Detect")
_DISTRIBUTIONS = ("ultralytics-opencv-headless", "ultralytics")

_restores: list[Callable[[], None]] = []


def register() -> None:
    """Make our layers and model files usable in that package, in this process. A second call does nothing.

    Raises:
        MissingExtraError: the package is missing, or is a version whose parser lacks what is needed.
    """
    if _restores:
        return
    require("train", "a ghostyolo layer inside ultralytics")
    require("ultralytics", "register()")
    tasks = importlib.import_module("ultralytics.nn.tasks")
    _check_version(importlib.import_module("ultralytics").__version__, tasks)
    _wrap(tasks, "parse_model", _parse_model)
    _wrap(tasks, "check_yaml", _check_yaml)
    _wrap(tasks.BaseModel, "fuse", _fuse)


def unregister() -> None:
    """Give that package its own functions back. Networks that were built keep working but no longer fold."""
    while _restores:
        _restores.pop()()


def _wrap(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return replacement(original, *args, **kwargs)

    setattr(owner, name, wrapped)
    _restores.append(lambda: setattr(owner, name, original))


def _check_version(version: str, tasks: Any) -> None:
    if _numbers(version) < _numbers(OLDEST):
        raise unfit_version("it is too old")
    for name in _NEEDED:
        if not hasattr(tasks, name):
            raise unfit_version(f"its nn.tasks has no {name}")


def unfit_version(reason: str) -> MissingExtraError:
    """The error that the installed version cannot be used, with the range that is tested and the line to type."""
    version = importlib.import_module("ultralytics").__version__
    return MissingExtraError(
        f"ultralytics {version} cannot take ghostyolo's layers: {reason}; tested are {OLDEST} to {NEWEST_TESTED}: "
        f'pip install "{_distribution()}>={OLDEST},<={NEWEST_TESTED}"'
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _distribution() -> str:
    """Which of the two distributions of that package is installed: the other would be written over it."""
    for name in _DISTRIBUTIONS[:-1]:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    return _DISTRIBUTIONS[-1]


def _parse_model(original: Callable[..., Any], d: dict[str, Any], ch: int, verbose: bool = True) -> Any:
    from ghostyolo.integrations.ultralytics.parse import build_rows, names_our_layers

    return build_rows(original, d, ch, verbose) if names_our_layers(d) else original(d, ch=ch, verbose=verbose)


def _check_yaml(original: Callable[..., Any], file: Any, *args: Any, **kwargs: Any) -> Any:
    ours = model_files().get(str(file))
    if ours is None:
        return original(file, *args, **kwargs)
    return original(file, hard=False) or str(ours)


def _fuse(original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
    from ghostyolo.integrations.ultralytics.layer import Layer

    # That package leaves the branches of a network in quantization-aware training as they are, and so do we.
    if not any(type(module).__name__ == "TensorQuantizer" for module in model.modules()):
        for layer in model.model:
            if isinstance(layer, Layer):
                layer.fold()
    return original(model, *args, **kwargs)

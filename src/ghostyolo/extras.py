"""Tell the user which install a command needs.

``pip install ghostyolo`` runs detectors without torch; ``pip install "ghostyolo[train]"`` adds all that trains, folds
and exports. Code that needs an extra calls :func:`require` before it imports from it.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from typing import Any

from ghostyolo.errors import MissingExtraError


@dataclass(frozen=True)
class Extra:
    """An install that can be added to the base.

    Attributes:
        name: as in ``pip install "ghostyolo[name]"``.
        modules: what it makes importable.
    """

    name: str
    modules: tuple[str, ...]


# Extras of formats and engines stand in the files of those.
_PROBES = {
    "train": ("torch", "torchvision", "timm", "lightning"),
    "scenes": ("sklearn", "skimage", "matplotlib"),
    "parquet": ("pyarrow",),
    "ultralytics": ("ultralytics",),
    "serve": ("starlette", "uvicorn"),
    "energy": ("zeus", "pynvml"),
    "ray": ("ray", "tensorboardX"),
}


def available(extra: str | Extra) -> bool:
    """Whether every package of an extra can be imported; imports nothing."""
    modules = extra.modules if isinstance(extra, Extra) else _PROBES[extra]
    return all(importlib.util.find_spec(module) is not None for module in modules)


def require(extra: str | Extra, what: str) -> None:
    """Raise :class:`MissingExtraError` with the exact command to type unless the extra is installed.

    Args:
        extra: the extra, or the name of one that no format brings, such as ``"train"``.
        what: the thing the user asked for, to begin the message with: ``"training"``.
    """
    if not available(extra):
        name = extra.name if isinstance(extra, Extra) else extra
        raise MissingExtraError(f'{what} needs the "{name}" extra: pip install "ghostyolo[{name}]"')


def declared(package: str, name: str) -> list[Any]:
    """Return what a package's modules call ``name``, in order of their files.

    So a file is all that it takes to add a format or an engine. The modules are imported: keep them light at the top.
    """
    folder = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(folder)]
    return [getattr(module, name) for module in modules if hasattr(module, name)]

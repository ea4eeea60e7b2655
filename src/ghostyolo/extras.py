"""Tell the user which install a command needs.

The base install runs detectors without torch; the extra ``train`` adds all that trains, folds and exports. Code that
needs an extra calls :func:`require` before it imports from it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import pkgutil
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostyolo.errors import MissingExtraError


@dataclass(frozen=True)
class Extra:
    """An install that can be added to the base.

    Attributes:
        name: as in ``pip install ".[name]"``.
        modules: what it makes importable.
    """

    name: str
    modules: tuple[str, ...]


_NAME = "ghostyolo"

# Extras of formats and engines stand in the files of those.
_PROBES = {
    "train": ("torch", "torchvision", "timm", "lightning"),
    "scenes": ("sklearn", "skimage"),
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
        raise MissingExtraError(f'{what} needs the "{name}" extra: {install_command(name)}')


def install_command(extra: str) -> str:
    """Return the line to type for an extra.

    It names the place that this package came from, which pip notes (PEP 610). A registry may hold a stranger's package
    of this name, so it is named only where this one came from there.
    """
    package = Path(__file__).resolve().parent
    checkout = package.parents[1]
    if package.parent.name == "src" and _is_ours(checkout / "pyproject.toml"):
        return f'pip install -e "{checkout}[{extra}]"'
    try:
        distribution = importlib.metadata.distribution(_NAME)
        origin = json.loads(distribution.read_text("direct_url.json") or "null")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return f'pip install ".[{extra}]" in a checkout of {_NAME} (registries have none of ours)'
    if origin is None:
        return f'pip install "{_NAME}[{extra}]=={distribution.version}"'
    url = str(origin["url"])
    if "vcs_info" in origin:
        version = origin["vcs_info"].get("commit_id", "")
        return f'pip install "{_NAME}[{extra}] @ {origin["vcs_info"]["vcs"]}+{url}@{version}"'
    if "dir_info" in origin:
        folder = urllib.request.url2pathname(urllib.parse.urlsplit(url).path)
        return f'pip install "{folder}[{extra}]"'
    return f'pip install "{_NAME}[{extra}] @ {url}"'


def _is_ours(project: Path) -> bool:
    return project.is_file() and f'name = "{_NAME}"' in project.read_text(encoding="utf-8")


def declared(package: str, name: str) -> list[Any]:
    """Return what a package's modules call ``name``, in order of their files.

    So a file is all that it takes to add a format or an engine. The modules are imported: keep them light at the top.
    """
    folder = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(folder)]
    return [getattr(module, name) for module in modules if hasattr(module, name)]

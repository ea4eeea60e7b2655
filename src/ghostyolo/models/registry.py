"""Parts by name (backbones, necks, heads) and whole detectors by name (the YAML files in ``models/zoo``).

This module imports no torch: the names and declarations can be listed on a device. Parts register when
:func:`load_parts` imports their files.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, TypeVar

import yaml

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.models.config import DetectorConfig

Builder = Callable[..., Any]
T = TypeVar("T", bound=Builder)

_PARTS: dict[str, dict[str, Builder]] = {"backbone": {}, "neck": {}, "head": {}}


def _register(kind: str, name: str) -> Callable[[T], T]:
    def decorate(builder: T) -> T:
        held = _PARTS[kind].get(name)
        if held is not None and held.__qualname__ != builder.__qualname__:
            raise ConfigError(f"{kind} '{name}' is already registered by {held.__module__}.{held.__qualname__}")
        _PARTS[kind][name] = builder
        return builder

    return decorate


def register_backbone(name: str) -> Callable[[T], T]:
    """Register a backbone: called with its parameters and ``in_channels``; offers ``channels`` and ``strides``."""
    return _register("backbone", name)


def register_neck(name: str) -> Callable[[T], T]:
    """Register a neck: called with its parameters and ``in_channels`` (a tuple); offers ``channels``."""
    return _register("neck", name)


def register_head(name: str) -> Callable[[T], T]:
    """Register a head: called with its parameters, ``in_channels``, ``strides`` and ``num_classes``."""
    return _register("head", name)


@cache
def load_parts() -> None:
    """Import every file in ``backbones``, ``necks`` and ``heads``, so that their parts register."""
    for folder in ("backbones", "necks", "heads"):
        package = importlib.import_module(f"ghostyolo.models.{folder}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"ghostyolo.models.{folder}.{module.name}")


def build_part(kind: str, type_name: str, params: dict[str, Any], given: dict[str, Any]) -> Any:
    """Build a part, refusing parameters that it does not have.

    Args:
        kind: ``"backbone"``, ``"neck"`` or ``"head"``.
        type_name: its registered name.
        params: what the configuration says.
        given: what the parts before it say (channels, strides) and the user (classes, image channels).

    Raises:
        ConfigError: an unknown name or parameter, with the nearest valid ones.
    """
    load_parts()
    builders = _PARTS[kind]
    if type_name not in builders:
        raise ConfigError(f"unknown {kind} '{type_name}': {suggest(type_name, builders)}")
    builder = builders[type_name]
    accepted = set(inspect.signature(builder).parameters)
    for key in params:
        if key not in accepted or key in given:
            settable = accepted - set(given)
            raise ConfigError(f"{kind} '{type_name}' has no parameter '{key}': {suggest(key, settable)}")
    return builder(**params, **{key: value for key, value in given.items() if key in accepted})


@cache
def _zoo() -> dict[str, str]:
    folder = resources.files("ghostyolo.models") / "zoo"
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


def list_models() -> list[str]:
    """Names of all detectors that can be built."""
    return list(_zoo())


def zoo_config(name: str) -> DetectorConfig:
    """The declaration of a detector of the zoo.

    Raises:
        ConfigError: an unknown name, with the nearest ones.
    """
    if name not in _zoo():
        raise ConfigError(f"unknown model '{name}': {suggest(name, _zoo())}")
    return DetectorConfig.from_dict({"name": name, **yaml.safe_load(_zoo()[name])}, where=f"model '{name}'")

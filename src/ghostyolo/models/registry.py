"""Parts by name: backbones, necks and heads, and what the scales mean for each.

This module imports no torch. Parts register when :func:`load_parts` imports their files; parts from outside register
when their file is imported: from Python, by ``ghostyolo --import FILE``, or as an installed package's entry point of
the group ``ghostyolo.parts``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.models.scales import LETTERS, Scale, Scales, scaled

Builder = Callable[..., Any]
T = TypeVar("T", bound=Builder)


@dataclass(frozen=True)
class Part:
    """A registered part.

    Attributes:
        builder: the class or function that makes it.
        scales: its parameters at each letter; empty where size is not its own affair (most heads).
    """

    builder: Builder
    scales: Scales

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What the builder takes, by name."""
        return inspect.signature(self.builder).parameters


_PARTS: dict[str, dict[str, Part]] = {"backbone": {}, "neck": {}, "head": {}}
_IMPORTED: list[Path] = []


def _register(kind: str, name: str, scales: Scales | None) -> Callable[[T], T]:
    scales = scales or {}
    if scales and set(scales) != set(LETTERS):
        raise ConfigError(f"{kind} '{name}': scales must name each of {', '.join(LETTERS)}, got {', '.join(scales)}")

    def decorate(builder: T) -> T:
        held = _PARTS[kind].get(name)
        if held is not None and held.builder.__qualname__ != builder.__qualname__:
            owner = f"{held.builder.__module__}.{held.builder.__qualname__}"
            raise ConfigError(f"{kind} '{name}' is already registered by {owner}")
        _PARTS[kind][name] = Part(builder, scales)
        return builder

    return decorate


def register_backbone(name: str, scales: Scales | None = None) -> Callable[[T], T]:
    """Register a backbone: called with its parameters and ``in_channels``; offers ``channels`` and ``strides``.

    Args:
        name: what declarations call it.
        scales: letter (all of p, n, s, m, l, x) to parameters, see :mod:`ghostyolo.models.scales`.
    """
    return _register("backbone", name, scales)


def register_neck(name: str, scales: Scales | None = None) -> Callable[[T], T]:
    """Register a neck: called with its parameters, ``in_channels`` and, where it takes them, ``strides``.

    It offers ``channels``. ``strides`` are the backbone's; a neck that does not take them is only given 8, 16, 32.
    """
    return _register("neck", name, scales)


def register_head(name: str, scales: Scales | None = None) -> Callable[[T], T]:
    """Register a head: called with its parameters, ``in_channels``, ``strides`` and ``num_classes``.

    Its criterion registers under the same name, see :mod:`ghostyolo.losses.registry`.
    """
    return _register("head", name, scales)


@cache
def load_parts() -> None:
    """Import every file in ``backbones``, ``necks`` and ``heads``, and the parts of installed packages."""
    for folder in ("backbones", "necks", "heads"):
        package = importlib.import_module(f"ghostyolo.models.{folder}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"ghostyolo.models.{folder}.{module.name}")
    for entry_point in importlib.metadata.entry_points(group="ghostyolo.parts"):
        entry_point.load()


def import_file(path: Path) -> None:
    """Run a Python file that registers parts of its own.

    Raises:
        ConfigError: there is no such file, or it fails.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"cannot import {path}: it is not a Python file")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except ConfigError:
        raise
    except Exception as error:  # whatever the user's own code raises
        raise ConfigError(f"cannot import {path}: {type(error).__name__}: {error}") from error
    _IMPORTED.append(path.resolve())


def imported_files() -> list[Path]:
    """The files that :func:`import_file` ran, for processes that must run them too."""
    return list(_IMPORTED)


def list_parts(kind: str) -> list[str]:
    """Names of the registered backbones, necks or heads."""
    load_parts()
    return sorted(_PARTS[kind])


def find_part(kind: str, type_name: str) -> Part:
    """A registered part.

    Raises:
        ConfigError: an unknown name, with the nearest valid ones.
    """
    load_parts()
    if type_name not in _PARTS[kind]:
        raise ConfigError(f"unknown {kind} '{type_name}': {suggest(type_name, _PARTS[kind])}")
    return _PARTS[kind][type_name]


_GIVEN = {"in_channels", "strides", "num_classes"}  # by the parts before and by the data, not by a declaration


def describe_part(kind: str, type_name: str) -> dict[str, Any]:
    """Return a part in words.

    ``kind``, ``name``, ``params`` (name to default; None where one must be given) and ``scales``.

    Raises:
        ConfigError: an unknown part.
    """
    part = find_part(kind, type_name)
    params = {
        key: None if parameter.default is inspect.Parameter.empty else parameter.default
        for key, parameter in part.parameters.items()
        if key not in _GIVEN
    }
    return {"kind": kind, "name": type_name, "params": params, "scales": {k: dict(v) for k, v in part.scales.items()}}


def scale_params(kind: str, type_name: str, scale: Scale) -> dict[str, Any]:
    """A part's parameters at a scale.

    Raises:
        ConfigError: an unknown part or scale.
    """
    return scaled(find_part(kind, type_name).scales, scale)


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
    part = find_part(kind, type_name)
    accepted = set(part.parameters)
    for key in params:
        if key not in accepted or key in given:
            settable = accepted - set(given)
            raise ConfigError(f"{kind} '{type_name}' has no parameter '{key}': {suggest(key, settable)}")
    for key, parameter in part.parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in {*params, *given}:
            raise ConfigError(f"{kind} '{type_name}' needs its parameter '{key}': {{type: {type_name}, {key}: ...}}")
    return part.builder(**params, **{key: value for key, value in given.items() if key in accepted})

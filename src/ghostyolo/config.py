"""Typed settings, and the YAML and KEY=VALUE texts that fill them.

A setting has one name as a flag, in YAML and in Python. Errors are one line: the key, what was given, what is allowed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.text import TextError, read_text

Options = dict[str, Any]
M = TypeVar("M", bound="StrictModel")


class StrictModel(BaseModel):
    """A frozen model that refuses unknown keys, other types and infinite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    if not TYPE_CHECKING:  # checkers know a model's arguments by its fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError(f"{type(self).__name__}: {_first_error(error, type(self))}") from error

        # Models inside others, and from_dict, are validated by pydantic alone, which knows the whole place. The mark is
        # pydantic's own: where a version does not know it, messages of inner models lose their place and no more.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def from_dict(cls: type[M], values: Mapping[str, Any], where: str = "settings") -> M:
        """Validate options by name; None means "as by default".

        Args:
            values: options, mappings inside for models inside.
            where: what the error begins with, such as a file's name.

        Raises:
            ConfigError: a missing or unknown key (with the nearest valid one), or a wrong or impossible value.
        """
        given = {key: value for key, value in values.items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigError(f"{where}: {_first_error(error, cls)}") from error


def read_yaml(path: str | Path, what: str) -> Options:
    """Read a YAML file of ``key: value`` lines; an empty file has none.

    Args:
        path: the file.
        what: the file's part in the error, such as ``"recipe"``.

    Raises:
        ConfigError: missing, not YAML, no mapping, or a key that stands there twice.
    """
    try:
        values = parse_yaml(read_text(path))
    except TextError as error:
        raise ConfigError(f"the {what} {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"the {what} {path} is not YAML: {str(error).splitlines()[0]}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"the {what} {path} must be 'key: value' lines, not {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def parse_yaml(text: str) -> Any:
    """Read YAML text in which 1e-3 is a number and a key stands once.

    Raises:
        yaml.YAMLError: the text is not YAML.
        ConfigError: a key stands there twice.
    """
    return yaml.load(text, _Loader)


def parse_plain_yaml(text: str) -> Any:
    """Read YAML text whose values stay as written: no, 010, 1e3, dates.

    Raises:
        yaml.YAMLError: the text is not YAML.
        ConfigError: a key stands there twice.
    """
    return yaml.load(text, _PlainLoader)


def parse_assignment(text: str, flag: str, several: bool = False) -> tuple[str, Any]:
    """Split ``key=value``, or ``key=value,value`` into a key and a list.

    Raises:
        ConfigError: a text of another form.
    """
    key, equals, value = text.partition("=")
    form = "KEY=VALUE,VALUE,..." if several else "KEY=VALUE"
    if not equals or not key or (several and not value):
        raise ConfigError(f"{flag} {text}: write {form}")
    try:
        return key, parse_yaml(f"[{value}]" if several else value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{flag} {text}: write {form}") from error


def parse_assignments(texts: Iterable[str], flag: str) -> Options:
    """Read several ``key=value`` texts of one flag.

    Raises:
        ConfigError: a text of another form, or a key that is given twice.
    """
    options: Options = {}
    for text in texts:
        key, value = parse_assignment(text, flag)
        if key in options:
            raise ConfigError(f"{flag} {text}: '{key}' is given twice")
        options[key] = value
    return options


def merge_options(options: Mapping[str, Any], changes: Mapping[str, Any]) -> Options:
    """Return options with changes in their place; mappings inside are merged key by key."""
    result = dict(options)
    for key, value in changes.items():
        held = result.get(key)
        result[key] = merge_options(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return result


def spread_dots(options: Mapping[str, Any]) -> Options:
    """Return ``{"augment.scale": 1}`` as ``{"augment": {"scale": 1}}``."""
    result: Options = {}
    for key, value in options.items():
        head, dot, rest = key.partition(".")
        result = merge_options(result, {head: spread_dots({rest: value})} if dot else {key: value})
    return result


def _refuse_doubled_keys(node: yaml.MappingNode) -> None:
    # YAML readers keep the last of two.
    keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    doubled = next((key for key in keys if isinstance(key, str) and keys.count(key) > 1), None)
    if doubled is not None:
        raise ConfigError(f"'{doubled}' is there twice, line {node.start_mark.line + 1} and after: rename one")


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _refuse_doubled_keys(node)
        return super().construct_mapping(node, deep)


class _PlainLoader(yaml.BaseLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _refuse_doubled_keys(node)
        return super().construct_mapping(node, deep)


# PyYAML follows YAML 1.1, where 1e-3 without a dot is text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def fields_of(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Return a model's fields by name, those of models inside as ``augment.scale``."""
    fields: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            fields |= fields_of(inner, f"{prefix}{name}.")
        else:
            fields[prefix + name] = field
    return fields


def _nearest(place: list[str], model: type[BaseModel]) -> str:
    """The valid keys that an unknown one may have meant, such as ``augment.scale`` for ``scale``."""
    whole = [key for key in fields_of(model) if key.rpartition(".")[2] == place[-1]]
    if whole:
        return f"did you mean {', '.join(whole)}?"
    holder = model
    for part in place[:-1]:
        inner = holder.model_fields[part].annotation if part in holder.model_fields else None
        holder = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else holder
    deeper = {key.rpartition(".")[2]: key for key in fields_of(model)}
    near = difflib.get_close_matches(place[-1], deeper, cutoff=0.5)
    if near and not difflib.get_close_matches(place[-1], holder.model_fields, cutoff=0.5):
        return f"did you mean {', '.join(deeper[name] for name in near)}?"
    return suggest(place[-1], holder.model_fields)


def _first_error(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}': {_nearest(place, model)}"
    if first["type"] == "missing":
        return f"'{key}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not key:  # of the whole, not of one key
        return message
    return f"'{key}' is {first['input']!r}: {message}"

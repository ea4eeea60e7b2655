"""The declaration of a detector: backbone, neck and head.

Each is a type and its parameters. No torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ghostyolo.errors import ConfigError, suggest


class PartConfig(BaseModel):
    """A part by its registered name.

    Every other key is a parameter of it, checked when it is built.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _flat_keys_are_params(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"type": value}
        if isinstance(value, dict) and "params" not in value:
            return {"type": value.get("type"), "params": {k: v for k, v in value.items() if k != "type"}}
        return value


class DetectorConfig(BaseModel):
    """A whole detector: its parts, size and normalisation.

    The parts are ``backbone``, ``neck`` and ``head``.

    At most one of the sizes is given. It fills in the parameters that the parts' own keys leave open.

    Attributes:
        scale: a letter (p, n, s, m, l, x) or a number from 0 (p) to 5 (x), see :mod:`ghostyolo.models.scales`.
        params_m: about so many million parameters, folded, with 80 classes.
        flops_g: about so many GFLOPs, folded, with 80 classes, at 640 x 640.
        imgsz: side in pixels of the pictures it is meant for; None: by the scale, else 640.
        mean, std: per channel, or one number for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "custom"
    backbone: PartConfig
    neck: PartConfig
    head: PartConfig
    scale: str | float | None = None
    params_m: float | None = Field(None, gt=0)
    flops_g: float | None = Field(None, gt=0)
    imgsz: int | None = Field(None, gt=0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @model_validator(mode="after")
    def _one_size(self) -> DetectorConfig:
        sizes = [key for key in ("scale", "params_m", "flops_g") if getattr(self, key) is not None]
        if len(sizes) > 1:
            raise ValueError(f"give one of {' and '.join(sizes)}")
        return self

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str) -> DetectorConfig:
        """Validate a dictionary.

        Raises:
            ConfigError: a missing, unknown or wrongly typed key, named with its place.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise ConfigError(f"{where}: unknown key '{key}': {suggest(key, cls.model_fields)}") from error
            if not key:  # of the whole, not of one key
                raise ConfigError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error
            raise ConfigError(f"{where}: key '{key}': {first['msg']}, got {first['input']!r}") from error

    @classmethod
    def from_file(cls, path: Path) -> DetectorConfig:
        """Read a YAML file; its stem is the name unless it says one.

        Raises:
            ConfigError: the file is missing or is not YAML of this form.
        """
        try:
            value = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot read the model file {path}: {error}".splitlines()[0]) from error
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: a model file holds backbone, neck and head, got {type(value).__name__}")
        return cls.from_dict({"name": path.stem, **value}, where=str(path))

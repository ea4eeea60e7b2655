"""The declaration of a detector: backbone, neck and head.

Each is a type and its parameters. No torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from ghostyolo.config import StrictModel, read_yaml


class Declaration(StrictModel):
    """A declaration takes lists for tuples, as YAML writes them."""

    model_config = ConfigDict(strict=False)


class PartConfig(Declaration):
    """A part by its registered name.

    Every other key is a parameter of it, checked when it is built.
    """

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


class DetectorConfig(Declaration):
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
    def from_file(cls, path: Path) -> DetectorConfig:
        """Read a YAML file; its stem is the name unless it says one.

        Raises:
            ConfigError: the file is missing or is not YAML of this form.
        """
        return cls.from_dict({"name": path.stem, **read_yaml(path, "model file")}, where=str(path))

"""The detector network: normalise, backbone, neck, head. Pure torch; no files, no training."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ghostyolo.errors import ConfigError
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.names import zoo_config
from ghostyolo.models.registry import build_part, find_part
from ghostyolo.models.sizing import fill_in


class DetectionModel(nn.Module):
    """Image in, detections out.

    Input (B, in_channels, H, W) float, RGB in 0..1, H and W multiples of the largest stride. In training returns the
    head's raw predictions; in evaluation boxes (B, A, 4) xyxy in input pixels and scores (B, A, classes) in 0..1.
    """

    def __init__(self, config: DetectorConfig, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        if num_classes < 1:
            raise ConfigError(f"a detector needs at least one class, got {num_classes}")
        if in_channels < 1:
            raise ConfigError(f"a picture has at least one channel, got {in_channels}")
        # Explicit parameters, not a size: a checkpoint must not change when a scale's meaning does.
        config = fill_in(config)
        self.config, self.num_classes, self.in_channels = _as_trained(config), num_classes, in_channels
        self.backbone = build_part(
            "backbone", config.backbone.type, config.backbone.params, {"in_channels": in_channels}
        )
        self.strides: tuple[int, ...] = tuple(self.backbone.strides)
        _check_strides(config, self.strides)
        self.neck = build_part(
            "neck",
            config.neck.type,
            config.neck.params,
            {"in_channels": tuple(self.backbone.channels), "strides": self.strides},
        )
        self.head = build_part(
            "head",
            config.head.type,
            config.head.params,
            {"in_channels": tuple(self.neck.channels), "strides": self.strides, "num_classes": num_classes},
        )
        self.normalise = config.mean != (0.0,) or config.std != (1.0,)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(config.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, -1, 1, 1), persistent=False)

    @property
    def stride(self) -> int:
        """Pixels that image sides must be a multiple of."""
        return max(self.strides)

    @property
    def needs_nms(self) -> bool:
        """Whether a reader must suppress the weaker boxes of one object; a head that says nothing needs it."""
        return getattr(self.head, "needs_nms", True)

    def features(self, images: Tensor) -> list[Tensor]:
        """What the head reads: one map (B, C_i, H / s_i, W / s_i) for each stride."""
        if self.normalise:
            images = (images - self.mean) / self.std
        return self.neck(self.backbone(images))

    def forward(self, images: Tensor) -> Any:
        return self.head(self.features(images))


def _as_trained(config: DetectorConfig) -> DetectorConfig:
    """The declaration without where a library's backbone first had its weights from: a checkpoint has its own."""
    params = {key: value for key, value in config.backbone.params.items() if key != "pretrained"}
    return config.model_copy(update={"backbone": config.backbone.model_copy(update={"params": params})})


def _check_strides(config: DetectorConfig, strides: tuple[int, ...]) -> None:
    """Refuse a backbone whose maps the neck cannot use."""
    usual = (8, 16, 32)
    takes_any = "strides" in inspect.signature(find_part("neck", config.neck.type).builder).parameters
    if strides != usual and not takes_any:
        given = ", ".join(map(str, strides))
        raise ConfigError(
            f"backbone '{config.backbone.type}' gives maps at strides {given}, neck '{config.neck.type}' needs "
            "8, 16, 32: choose another backbone (ghostyolo models --parts)"
        )


def resolve_config(model: str | Path | DetectorConfig, **overrides: Any) -> DetectorConfig:
    """A detector's declaration from a name (:mod:`ghostyolo.models.names`), a YAML file or a declaration.

    Args:
        overrides: parameters to replace, such as ``branches=1``, in the backbone, and in a neck and a head that have
            them; None leaves one as it is.

    Raises:
        ConfigError: unknown name, unreadable file, or wrong key.
    """
    if isinstance(model, DetectorConfig):
        config = model
    elif str(model).endswith((".yaml", ".yml")):
        config = DetectorConfig.from_file(Path(model))
    else:
        config = zoo_config(str(model))
    given = {key: value for key, value in overrides.items() if value is not None}
    for kind in ("backbone", "neck", "head") if given else ():
        part = getattr(config, kind)
        known = inspect.signature(find_part(kind, part.type).builder).parameters
        mine = {key: value for key, value in given.items() if kind == "backbone" or key in known}
        part = part.model_copy(update={"params": {**part.params, **mine}})
        config = config.model_copy(update={kind: part})
    return config


def build_model(
    model: str | Path | DetectorConfig, *, num_classes: int, in_channels: int = 3, **overrides: Any
) -> DetectionModel:
    """Build a detector with fresh weights; see :func:`resolve_config` for ``model`` and ``overrides``."""
    return DetectionModel(resolve_config(model, **overrides), num_classes, in_channels)

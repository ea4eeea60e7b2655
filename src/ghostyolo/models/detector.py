"""The detector network: normalise, backbone, neck, head.

Its size comes from a scale or a budget. Pure torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ghostyolo.errors import ConfigError
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.models.names import zoo_config
from ghostyolo.models.registry import build_part, find_part, scale_params
from ghostyolo.models.scales import LARGEST, RESOLUTIONS, scaled
from ghostyolo.nn.reparam import fold

_STEPS = 8  # halvings of the scale's range
_CLOSE = 0.01  # of the budget: near enough to stop
_NEAR = 0.15  # of the budget: widths come in multiples of 8, so an exact hit is rare
_CLASSES, _IMGSZ = 80, 640  # as ``ghostyolo models`` counts


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
        self._maps = tuple(self.backbone.channels)
        if len(self._maps) != len(self.strides):
            raise ConfigError(
                f"backbone '{config.backbone.type}' says {len(self._maps)} channels {self._maps} and "
                f"{len(self.strides)} strides {self.strides}: each map has one of both"
            )
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
        """Whether a reader must suppress the weaker boxes of one object."""
        return getattr(self.head, "needs_nms", True)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the head's input, one map for each stride.

        They are (B, C_i, H / s_i, W / s_i).
        """
        if self.normalise:
            images = (images - self.mean) / self.std
        maps = self.backbone(images)
        if not torch.jit.is_tracing():  # type: ignore[attr-defined]  # it is there, if not exported
            self._check_maps(maps)
        return self.neck(maps)

    def _check_maps(self, maps: list[Tensor]) -> None:
        """Refuse a backbone that gives other maps than it says, which layers behind it would tell in riddles."""
        given = tuple(feature.shape[1] for feature in maps)
        if given != self._maps:
            raise ConfigError(
                f"backbone '{self.config.backbone.type}' gives maps of {', '.join(map(str, given)) or 'no'} channels, "
                f"but says {', '.join(map(str, self._maps))}: its forward must return one for each of its strides"
            )

    def forward(self, images: Tensor) -> Any:
        return self.head(self.features(images))


def _as_trained(config: DetectorConfig) -> DetectorConfig:
    """The declaration without where a library's backbone first had its weights from: a checkpoint has its own."""
    params = {key: value for key, value in config.backbone.params.items() if key != "pretrained"}
    return config.model_copy(update={"backbone": config.backbone.model_copy(update={"params": params})})


def _check_strides(config: DetectorConfig, strides: tuple[int, ...]) -> None:
    """Refuse a backbone whose maps the neck cannot use."""
    usual = (8, 16, 32)
    takes_any = "strides" in find_part("neck", config.neck.type).parameters
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
        known = find_part(kind, part.type).parameters
        mine = {key: value for key, value in given.items() if kind == "backbone" or key in known}
        part = part.model_copy(update={"params": {**part.params, **mine}})
        config = config.model_copy(update={kind: part})
    return config


def build_model(
    model: str | Path | DetectorConfig, *, num_classes: int, in_channels: int = 3, **overrides: Any
) -> DetectionModel:
    """Build a detector with fresh weights; see :func:`resolve_config` for ``model`` and ``overrides``."""
    return DetectionModel(resolve_config(model, **overrides), num_classes, in_channels)


def fill_in(config: DetectorConfig) -> DetectorConfig:
    """Replace a declaration's size by explicit parameters of its parts, whose own keys win.

    Raises:
        ConfigError: an unknown part or scale, or a budget that no scale comes near.
    """
    if config.params_m is not None:
        return _meet(config, config.params_m, "M parameters")
    if config.flops_g is not None:
        return _meet(config, config.flops_g, "GFLOPs")
    if config.scale is None:
        return config
    changes: dict[str, Any] = {"scale": None, "imgsz": config.imgsz or scaled(RESOLUTIONS, config.scale)["imgsz"]}
    for kind in ("backbone", "neck", "head"):
        part = getattr(config, kind)
        params = {**scale_params(kind, part.type, config.scale), **part.params}
        changes[kind] = part.model_copy(update={"params": params})
    return config.model_copy(update=changes)


def _meet(config: DetectorConfig, budget: float, unit: str) -> DetectorConfig:
    """The declaration at the scale whose figure comes nearest to the budget."""
    open_size = config.model_copy(update={"params_m": None, "flops_g": None})

    def at(scale: float) -> tuple[DetectorConfig, float]:
        candidate = fill_in(open_size.model_copy(update={"scale": scale}))
        return candidate, _measure(candidate, unit)

    low, high = 0.0, LARGEST
    ends = [at(low), at(high)]
    seen = list(ends)
    within = ends[0][1] < budget < ends[1][1]
    for _ in range(_STEPS if within else 0):
        middle = (low + high) / 2
        seen.append(at(middle))
        if abs(seen[-1][1] - budget) <= _CLOSE * budget:
            break
        low, high = (middle, high) if seen[-1][1] < budget else (low, middle)
    best, reached = min(seen, key=lambda pair: abs(pair[1] - budget))
    if abs(reached - budget) > _NEAR * budget:
        smallest, largest = ends[0][1], ends[1][1]
        raise ConfigError(
            f"model '{config.name}': no scale has about {budget:g} {unit}: they go from {smallest:.2f} to "
            f"{largest:.2f}, the nearest is {reached:.2f}"
        )
    return best


def _measure(config: DetectorConfig, unit: str) -> float:
    """What a declaration costs, folded."""
    with torch.device("meta"):
        model = fold(DetectionModel(config, _CLASSES))
    cost = count_parameters(model) / 1e6 if unit == "M parameters" else 2 * count_macs(model, _IMGSZ) / 1e9
    return round(cost, 4)

"""From a size to parameters of the parts: fill in a scale, or find the scale that meets a budget."""

from __future__ import annotations

from typing import Any

import torch

from ghostyolo.errors import ConfigError
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.registry import scale_params
from ghostyolo.models.scales import LARGEST, RESOLUTIONS, scaled

_STEPS = 8  # halvings of the scale's range
_CLOSE = 0.01  # of the budget: near enough to stop
_NEAR = 0.15  # of the budget: widths come in multiples of 8, so an exact hit is rare
_CLASSES, _IMGSZ = 80, 640  # as ``ghostyolo models`` counts


def fill_in(config: DetectorConfig) -> DetectorConfig:
    """Replace a declaration's size by explicit parameters of its parts, whose own keys win.

    Raises:
        ConfigError: an unknown part or scale, or a budget that no scale comes near.
    """
    if config.params_m is not None:
        return _meet(config, "params_deployed_m", config.params_m, "M parameters")
    if config.flops_g is not None:
        return _meet(config, "flops_g", config.flops_g, "GFLOPs")
    if config.scale is None:
        return config
    changes: dict[str, Any] = {"scale": None, "imgsz": config.imgsz or scaled(RESOLUTIONS, config.scale)["imgsz"]}
    for kind in ("backbone", "neck", "head"):
        part = getattr(config, kind)
        params = {**scale_params(kind, part.type, config.scale), **part.params}
        changes[kind] = part.model_copy(update={"params": params})
    return config.model_copy(update=changes)


def _meet(config: DetectorConfig, figure: str, budget: float, unit: str) -> DetectorConfig:
    """The declaration at the scale whose figure comes nearest to the budget."""
    open_size = config.model_copy(update={"params_m": None, "flops_g": None})

    def at(scale: float) -> tuple[DetectorConfig, float]:
        candidate = fill_in(open_size.model_copy(update={"scale": scale}))
        return candidate, _count(candidate)[figure]

    low, high = 0.0, LARGEST
    ends = [at(low), at(high)]
    seen = list(ends)
    for _ in range(_STEPS):
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


def _count(config: DetectorConfig) -> dict[str, Any]:
    from ghostyolo.models.describe import count_model
    from ghostyolo.models.detector import DetectionModel

    with torch.device("meta"):
        model = DetectionModel(config, _CLASSES)
    return count_model(model, _IMGSZ)

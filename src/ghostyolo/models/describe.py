"""What each detector of the zoo is made of and costs."""

from __future__ import annotations

from typing import Any

import torch

from ghostyolo.errors import ConfigError
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.registry import list_models, zoo_config
from ghostyolo.nn.reparam import fold


def describe_model(name: str, imgsz: int = 640, num_classes: int = 80) -> dict[str, Any]:
    """Parts, parameters (millions) and MACs, FLOPs = 2 x MACs (billions, one folded picture of imgsz x imgsz).

    Raises:
        ConfigError: an unknown name, or a size the network cannot take.
    """
    config = zoo_config(name)
    with torch.device("meta"):
        model = DetectionModel(config, num_classes)
    if imgsz < model.stride or imgsz % model.stride:
        nearest = max(model.stride, round(imgsz / model.stride) * model.stride)
        raise ConfigError(f"imgsz {imgsz} is not a multiple of {model.stride}: the nearest valid one is {nearest}")
    folded = fold(model)
    macs = count_macs(folded, imgsz)
    return {
        "name": name,
        "backbone": config.backbone.type,
        "neck": config.neck.type,
        "head": config.head.type,
        "params_m": round(count_parameters(model) / 1e6, 4),
        "params_deployed_m": round(count_parameters(folded) / 1e6, 4),
        "macs_g": round(macs / 1e9, 4),
        "flops_g": round(2 * macs / 1e9, 4),
        "imgsz": imgsz,
    }


def describe_zoo(imgsz: int = 640, num_classes: int = 80) -> list[dict[str, Any]]:
    """:func:`describe_model` of every detector, in the order of their names."""
    return [describe_model(name, imgsz, num_classes) for name in list_models()]

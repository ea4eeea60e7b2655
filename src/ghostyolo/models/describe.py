"""What each detector of the zoo is made of and costs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ghostyolo.metadata import check_imgsz
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.models.detector import DetectionModel, resolve_config
from ghostyolo.models.names import list_models
from ghostyolo.nn.reparam import fold


def count_model(model: DetectionModel, imgsz: int) -> dict[str, float]:
    """Parameters in training and folded (millions), MACs and FLOPs = 2 x MACs (billions) of one folded picture.

    Raises:
        ConfigError: a size the network cannot take.
    """
    check_imgsz(imgsz, model.stride)
    folded = fold(model)
    macs = count_macs(folded, imgsz, model.in_channels)
    return {
        "params_m": round(count_parameters(model) / 1e6, 4),
        "params_deployed_m": round(count_parameters(folded) / 1e6, 4),
        "macs_g": round(macs / 1e9, 4),
        "flops_g": round(2 * macs / 1e9, 4),
    }


def describe_model(name: str, imgsz: int = 640, num_classes: int = 80) -> dict[str, Any]:
    """Parts and counts (see :func:`count_model`) of a detector, by any name or YAML file.

    Raises:
        ConfigError: an unknown name, or a size the network cannot take.
    """
    with torch.device("meta"):
        model = DetectionModel(resolve_config(name), num_classes)
    parts = {kind: getattr(model.config, kind).type for kind in ("backbone", "neck", "head")}
    return {"name": name, **parts, **count_model(model, imgsz), "imgsz": imgsz}


def describe_zoo(imgsz: int = 640, num_classes: int = 80, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """:func:`describe_model` of the named detectors; without names: of the zoo, in the order of their names."""
    return [describe_model(name, imgsz, num_classes) for name in names or list_models()]

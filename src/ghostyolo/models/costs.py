"""What a network costs without being run: parameters, MACs and FLOPs, by its declaration.

The zoo is counted already, at 640 px and 80 classes, in ``zoo/costs.json``: counting builds each network, which takes a
minute for all and needs torch, and a device can list the zoo without either. ``benchmarks/zoo.py`` writes the file, and
tests count again.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from ghostyolo.errors import GhostYoloError
from ghostyolo.extras import available
from ghostyolo.metadata import ModelMetadata

IMGSZ, CLASSES = 640, 80
_KEYS = {"params_deployed_m": "params_m", "macs_g": "macs_g", "flops_g": "flops_g"}


@cache
def _counted() -> dict[str, dict[str, Any]]:
    text = (resources.files("ghostyolo.models") / "zoo" / "costs.json").read_text(encoding="utf-8")
    return {row["name"]: row for row in json.loads(text)}


def counted_row(name: str, imgsz: int, num_classes: int) -> dict[str, Any] | None:
    """Return the counted row of a model of the zoo.

    It is None where the model was not counted, or not at this size.
    """
    if (imgsz, num_classes) != (IMGSZ, CLASSES):
        return None
    row = _counted().get(name)
    return dict(row) if row is not None else None


def describe_model(name: str, imgsz: int = 640, num_classes: int = 80) -> dict[str, Any]:
    """Count a detector, by any name or YAML file.

    Its parts, and what :func:`ghostyolo.models.count.count_model` says.

    Raises:
        ConfigError: an unknown name, or a size the network cannot take.
    """
    import torch

    from ghostyolo.models.count import count_model
    from ghostyolo.models.detector import DetectionModel, resolve_config

    with torch.device("meta"):
        model = DetectionModel(resolve_config(name), num_classes)
    parts = {kind: getattr(model.config, kind).type for kind in ("backbone", "neck", "head")}
    return {"name": name, **parts, **count_model(model, imgsz), "imgsz": imgsz}


def count_costs(metadata: ModelMetadata, imgsz: int) -> dict[str, float]:
    """Return the costs of the folded network.

    ``params_m`` (millions), ``macs_g`` and ``flops_g`` (billions, FLOPs = 2 x MACs).

    One picture on a square of ``imgsz`` pixels. Empty where it is not known, or cannot be counted without torch.
    """
    row: dict[str, Any] | None = None
    if metadata.in_channels == 3:
        row = counted_row(metadata.model, imgsz, len(metadata.class_names))
    if row is None and metadata.config and available("train"):
        row = _count(metadata, imgsz)
    return {} if row is None else {name: row[key] for key, name in _KEYS.items()}


def _count(metadata: ModelMetadata, imgsz: int) -> dict[str, Any] | None:
    import torch

    from ghostyolo.models.config import DetectorConfig
    from ghostyolo.models.count import count_model
    from ghostyolo.models.detector import DetectionModel

    try:
        config = DetectorConfig.from_dict(metadata.config, where=metadata.model)
        with torch.device("meta"):
            model = DetectionModel(config, len(metadata.class_names), metadata.in_channels)
        return count_model(model, imgsz)
    except GhostYoloError:  # parts of another install: the file still runs, only what it costs is unknown
        return None

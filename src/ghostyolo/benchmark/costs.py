"""What a network costs without being run: parameters, MACs and FLOPs, by its declaration, and the size of its file.

Counting needs torch; the zoo is counted already.
"""

from __future__ import annotations

from typing import Any

from ghostyolo.errors import GhostYoloError
from ghostyolo.extras import available
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.costs import counted_row

_KEYS = {"params_deployed_m": "params_m", "macs_g": "macs_g", "flops_g": "flops_g"}


def count_costs(metadata: ModelMetadata, imgsz: int) -> dict[str, float]:
    """Of the folded network: ``params_m`` (millions), ``macs_g`` and ``flops_g`` (billions, FLOPs = 2 x MACs).

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
    from ghostyolo.models.describe import count_model
    from ghostyolo.models.detector import DetectionModel

    try:
        config = DetectorConfig.from_dict(metadata.config, where=metadata.model)
        with torch.device("meta"):
            model = DetectionModel(config, len(metadata.class_names), metadata.in_channels)
        return count_model(model, imgsz)
    except GhostYoloError:  # parts of another install: the file still runs, only what it costs is unknown
        return None

"""Whole networks: backbones, necks, heads, the registry that joins them, and their weights files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["DetectionModel", "build_model", "list_models"]

if TYPE_CHECKING:
    from ghostyolo.models.detector import DetectionModel, build_model
    from ghostyolo.models.names import list_models


def __getattr__(name: str) -> Any:
    # Names and declarations are listed without torch, so the networks are imported on first use.
    if name in ("DetectionModel", "build_model"):
        from ghostyolo.models import detector

        return getattr(detector, name)
    if name == "list_models":
        from ghostyolo.models.names import list_models

        return list_models
    raise AttributeError(f"module 'ghostyolo.models' has no attribute {name!r}")

"""Compact object detectors that are fast on the device: GhostNetV3 backbones in YOLO.

Nothing heavy is imported until it is used, so ``import ghostyolo`` takes milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ghostyolo._version import __version__

__all__ = ["Detector", "GhostYoloError", "__version__", "add_branches", "fold", "list_models", "load", "watch"]

if TYPE_CHECKING:
    from ghostyolo.detector import Detector
    from ghostyolo.errors import GhostYoloError
    from ghostyolo.live.watch import watch
    from ghostyolo.models.names import list_models
    from ghostyolo.nn.reparam import add_branches, fold
    from ghostyolo.runtime.predictor import load

_LAZY = {
    "Detector": "ghostyolo.detector",
    "GhostYoloError": "ghostyolo.errors",
    "add_branches": "ghostyolo.nn.reparam",
    "fold": "ghostyolo.nn.reparam",
    "list_models": "ghostyolo.models.names",
    "load": "ghostyolo.runtime.predictor",
    "watch": "ghostyolo.live.watch",
}
_NEED_TORCH = ("add_branches", "fold")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        if name in _NEED_TORCH:
            from ghostyolo.extras import require

            require("train", name)
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'ghostyolo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

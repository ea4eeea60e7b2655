"""Compact object detectors that are fast on the device: GhostNetV3 backbones in YOLO.

::

    ghostyolo.load("bccd")("photo.jpg")[0].plot()      # detect; see help(ghostyolo.load)
    ghostyolo.Detector("ghostyolo-n").train("my-data")  # train, val, predict, export; see help(ghostyolo.Detector)
    ghostyolo.watch(0, "bccd")                          # cameras and streams; see help(ghostyolo.watch)
    ghostyolo.list_models()                             # names of networks
    ghostyolo.add_branches(model, 4), ghostyolo.fold(model)  # re-parameterize any network of torch

Errors that a user can mend are :class:`GhostYoloError`. Nothing heavy is imported until it is used, so ``import
ghostyolo`` takes milliseconds. Pages: docs/python.md, docs/own-training-loop.md.
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

"""Tell the user which install a command needs.

``pip install ghostyolo`` runs detectors without torch; ``pip install "ghostyolo[train]"`` adds all that trains, folds
and exports. Code that needs an extra calls :func:`require` before it imports from it.
"""

from __future__ import annotations

import importlib.util

from ghostyolo.errors import MissingExtraError

_PROBES = {
    "train": ("torch", "torchvision", "timm", "lightning"),
    "scenes": ("sklearn", "skimage"),
    "parquet": ("pyarrow",),
    "ultralytics": ("ultralytics",),
    "energy": ("zeus", "pynvml"),
    "openvino": ("openvino",),
    "mnn": ("MNN",),
    "ncnn": ("ncnn",),
    "executorch": ("executorch",),
    "litert": ("ai_edge_litert",),
    "tensorrt": ("tensorrt", "cuda"),
    "pnnx": ("pnnx",),
    "litert-export": ("litert_torch",),
    "nncf": ("nncf",),
    "ray": ("ray", "tensorboardX"),
}


def available(extra: str) -> bool:
    """Whether every package of an extra can be imported; imports nothing."""
    return all(importlib.util.find_spec(module) is not None for module in _PROBES[extra])


def require(extra: str, what: str) -> None:
    """Raise :class:`MissingExtraError` with the exact command to type unless the extra is installed.

    Args:
        extra: name of the extra, such as ``"train"``.
        what: the thing the user asked for, to begin the message with: ``"training"``.
    """
    if not available(extra):
        raise MissingExtraError(f'{what} needs the "{extra}" extra: pip install "ghostyolo[{extra}]"')

"""Our layers in a YAML of the released ``ultralytics`` package.

Ghost backbones, PSA, DFC and YOLOv13's blocks::

    from ghostyolo.integrations.ultralytics import register
    from ultralytics import YOLO

    register()
    YOLO("yolo11n-ghostnetv3.yaml").train(data="data.yaml")

Importing this imports neither torch nor that package. It is AGPL-3.0; nothing of it is contained here: its parser
builds its own layers, and puts ours (:mod:`ghostyolo.nn`, :mod:`ghostyolo.models`) where a row names them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ghostyolo.extras import require

__all__ = ["model_files", "register", "unregister"]

FOLDER = Path(__file__).parent / "models"


def register() -> None:
    """Make our layers and model files usable in that package, in this process.

    A second call does nothing.

    Raises:
        MissingExtraError: the package is missing, or is a version whose parser lacks what is needed.
    """
    require("train", "a ghostyolo layer inside ultralytics")
    require("ultralytics", "register()")
    from ghostyolo.integrations.ultralytics.layer import wrap_package

    wrap_package()


def unregister() -> None:
    """Give that package its own functions back.

    Networks that were built keep working but no longer fold.
    """
    layer = sys.modules.get("ghostyolo.integrations.ultralytics.layer")
    if layer is not None:
        layer.unwrap_package()


def model_files() -> dict[str, Path]:
    """Return file names and paths of the YAMLs that ship with this package.

    Such as ``"yolo11-ghostnetv3.yaml"``; a scale letter goes after the version number.
    """
    return {path.name: path for path in sorted(FOLDER.glob("*.yaml"))}

"""Ghost backbones, PSA, DFC and YOLOv13's blocks in a YAML of the released ``ultralytics`` package.

    from ghostyolo.integrations.ultralytics import register
    from ultralytics import YOLO

    register()
    YOLO("yolo11n-ghostnetv3.yaml").train(data="data.yaml")

Importing this imports neither torch nor that package. It is AGPL-3.0; nothing of it is contained here: its parser
builds its own layers, and puts ours (:mod:`ghostyolo.nn`, :mod:`ghostyolo.models`) where a row names them.
"""

from ghostyolo.integrations.ultralytics.files import model_files
from ghostyolo.integrations.ultralytics.hooks import register, unregister

__all__ = ["model_files", "register", "unregister"]

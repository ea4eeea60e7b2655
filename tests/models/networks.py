"""The published networks that stored answers exist for, filled by name, and all that they put out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ghostyolo.models import build_model
from ghostyolo.models.backbones.ghostnet import GhostNetClassifier
from tests.models.filled import fill

_GHOSTNETS = {"ghostnet": ("none", None), "ghostnetv2": ("dfc", None), "ghostnetv3": ("dfc", 3)}


def ghostnet(name: str) -> GhostNetClassifier:
    """The classifier that timm calls NAME, such as ``ghostnetv3_100``."""
    version, width = name.rsplit("_", 1)
    attention, branches = _GHOSTNETS[version]
    return GhostNetClassifier(int(width) / 100, attention, branches)


def filled_network(name: str) -> nn.Module:
    """A network by its name, the detectors with 80 classes, in float64 and in evaluation."""
    model = ghostnet(name) if name.startswith("ghostnet") else build_model(name, num_classes=80)
    return fill(model, 0.3 if name.startswith("ghostnetv3") else 1.0)


def outputs(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Backbone maps by stride, neck levels, boxes and scores of a detector; the logits of a classifier."""
    with torch.no_grad():
        if not hasattr(model, "neck"):
            return {"logits": model(image)}
        features = model.backbone(image)
        levels = model.neck(features)
        boxes, scores = model(image)
    maps = dict(zip(("stride8", "stride16", "stride32"), features, strict=True))
    maps |= dict(zip(("level3", "level4", "level5"), levels, strict=True))
    return {**maps, "boxes": boxes, "scores": scores}

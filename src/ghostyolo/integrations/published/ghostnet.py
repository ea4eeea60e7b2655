"""GhostNets of the authors and of timm, as classifiers that `pretrain` could have written.

Their names are timm's; the authors' own files use the same. They were trained on ImageNet's 1000 classes.
"""

from __future__ import annotations

import re
from collections import Counter

from ghostyolo._version import __version__
from ghostyolo.errors import WeightsError
from ghostyolo.integrations.published.origin import origin_of
from ghostyolo.metadata import ModelMetadata, numbered_names
from ghostyolo.models.backbones.pretrained import from_timm
from ghostyolo.models.config import PartConfig
from ghostyolo.models.image_classifier import ClassifierConfig, ImageClassifier, build_classifier
from ghostyolo.models.pickles import Published
from ghostyolo.models.weights import NOT_STORED

GHOSTNETS = {
    f"ghostnet{version}_{width}"
    for version, widths in {"": (50, 100, 130), "v2": (100, 130, 160), "v3": (50, 100, 130, 160)}.items()
    for width in (f"{width:03}" for width in widths)
}
_NAME = re.compile(r"ghostnet(v[123])?_(\d{3})")
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in 0..1
_IMGSZ = 224
_CLASS_LAYER = "classifier.weight"


def ghostnet_config(name: str) -> ClassifierConfig | None:
    """Return the declaration of a GhostNet by timm's name.

    Such as ``ghostnetv3_100``; None: it is none.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    backbone = PartConfig(type=f"ghostnet{match[1] or 'v1'}", params={"width": int(match[2]) / 100})
    return ClassifierConfig(name=name, backbone=backbone, mean=_MEAN, std=_DEVIATION)


def build_ghostnet(name: str, published: Published) -> tuple[ImageClassifier, ModelMetadata]:
    """Build the classifier with the published weights, and its metadata.

    Raises:
        WeightsError: a layer that does not fit.
    """
    config = ghostnet_config(name)
    assert config is not None
    where = f"{published.path} is no '{name}'"
    tensors = {name: tensor.float() for name, tensor in from_timm(published.tensors, str(published.path)).items()}
    if _CLASS_LAYER not in tensors:
        raise WeightsError(f"{where}: it has no layer '{_CLASS_LAYER}', which counts the classes")
    model = build_classifier(config, len(tensors[_CLASS_LAYER]))
    state = {name: value for name, value in model.state_dict().items() if not name.endswith(NOT_STORED)}
    for layer in sorted(set(state) | set(tensors)):
        theirs, ours = (tuple(held[layer].shape) if layer in held else "absent" for held in (tensors, state))
        if theirs != ours:
            raise WeightsError(f"{where}: layer '{layer}' is {theirs} there and {ours} here: is it of another size?")
    model.load_state_dict(tensors, strict=False)
    names = published.class_names or _imagenet_names(model.num_classes)
    return model.eval(), ModelMetadata(
        version=__version__,
        model=name,
        class_names=names,
        imgsz=_IMGSZ,
        mean=list(_MEAN),
        std=list(_DEVIATION),
        nms=False,
        config=config.model_dump(mode="json"),
        derived_from=[
            origin_of(
                f"GhostNet{(config.backbone.type.removeprefix('ghostnet')).upper()}",
                "Huawei Noah's Ark Lab",
                "Apache-2.0",
                "https://github.com/huawei-noah/Efficient-AI-Backbones",
                published,
            )
        ],
    )


def _imagenet_names(count: int) -> list[str]:
    """The published ones are of ImageNet; two of its classes have one name, so these have their number too."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    if count != info.num_classes():
        return numbered_names(count)
    names = [info.index_to_description(number) for number in range(count)]
    repeated = {name for name, times in Counter(names).items() if times > 1}
    return [f"{name} ({number})" if name in repeated else name for number, name in enumerate(names)]

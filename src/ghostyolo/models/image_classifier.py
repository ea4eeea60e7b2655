"""Any backbone as an image classifier: its declaration, its name, its network.

    ghostnetv3, ghostnetv3@n            a registered backbone, at its own size or at a scale (letter, or 0 to 5)
    ghostnetv3:width=1.3,attention=psa  with parameters of its own
    yolov8n-ghostnetv3                  the backbone of a detector (:mod:`ghostyolo.models.names`), ready to be put back
    timm:vit_tiny_patch16_224           timm's network; torchvision:NAME likewise; the prefix may be left out where the
                                        name is no backbone's or detector's, timm's come first

A network of timm or torchvision, also behind a plain name such as ``mobilenetv2``, is trained whole, with the head that
its library gives it. A GhostNet has the published head; every other backbone its mean and a linear layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from torch import Tensor, nn

from ghostyolo.config import parse_yaml, read_yaml
from ghostyolo.errors import ConfigError, suggest
from ghostyolo.models.backbones.classifier_head import Classifier
from ghostyolo.models.backbones.libraries import timm_network, torchvision_network
from ghostyolo.models.config import Declaration, DetectorConfig, PartConfig
from ghostyolo.models.detector import fill_in
from ghostyolo.models.names import is_model_name, list_models, zoo_config
from ghostyolo.models.output_stride import keep_early_size
from ghostyolo.models.registry import build_part, find_part, list_parts, scale_params
from ghostyolo.nn.reparam import add_branches

LIBRARIES = ("timm", "torchvision")


class ClassifierConfig(Declaration):
    """The declaration of a classifier.

    Attributes:
        task: says in a checkpoint that it is no detector.
        output_stride: pixels of the picture in one cell of the last map: 32 as published, 16 with a stem of stride 1,
            8 where the next halving is left out as well.
        branches: training branches given to a backbone that has no such parameter; None: none.
        pointwise_branch: with a 1x1 branch beside those of larger kernels.
        mean, std: per channel, or one number for all.
    """

    task: Literal["classification"] = "classification"
    name: str = "custom"
    backbone: PartConfig
    output_stride: Literal[8, 16, 32] = 32
    branches: Annotated[int, Field(ge=1)] | None = None
    pointwise_branch: bool = True
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @model_serializer(mode="wrap")
    def _without_the_usual(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Runs begun before there was this key are gone on with, so it is written where it says something."""
        values: dict[str, Any] = dump(self)
        if self.pointwise_branch:
            del values["pointwise_branch"]
        return values


class ImageClassifier(nn.Module):
    """A network that takes a picture and gives logits.

    Input (B, in_channels, H, W) float, RGB in 0..1; output (B, num_classes). Every parameter of the backbone has a name
    that begins with ``backbone.``, as in a detector.

    Args:
        config: kept for checkpoints.
        network: of the other base class.
    """

    needs_nms = False
    num_classes: int

    def __init__(self, config: ClassifierConfig, in_channels: int, **network: Any) -> None:
        super().__init__(**network)
        self.config, self.in_channels = config, in_channels
        self.normalise = config.mean != (0.0,) or config.std != (1.0,)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(config.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, -1, 1, 1), persistent=False)

    def logits(self, image: Tensor) -> Tensor:
        """Return the logits of the normalised picture."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        if self.normalise:
            image = (image - self.mean) / self.std
        return self.logits(image)


class BackboneClassifier(ImageClassifier, Classifier):
    """A backbone of ours: its last map, its published layers, mean, linear."""

    def forward_features(self, image: Tensor) -> Tensor:
        return self.finish(self.backbone(image)[-1])

    def logits(self, image: Tensor) -> Tensor:
        return Classifier.forward(self, image)


class LibraryClassifier(ImageClassifier):
    """A whole network of timm or torchvision, named as in a detector."""

    def __init__(self, config: ClassifierConfig, net: nn.Module, num_classes: int, in_channels: int) -> None:
        super().__init__(config, in_channels)
        self.num_classes = num_classes
        self.backbone = nn.Module()
        self.backbone.net = net

    def logits(self, image: Tensor) -> Tensor:
        logits = self.backbone.net(image)  # type: ignore[operator]
        if not isinstance(logits, Tensor):
            raise ConfigError(f"'{self.config.name}' gives more than logits while it trains: choose another network")
        return logits


def classifier_config(
    model: str | Path,
    *,
    branches: int | None = None,
    pointwise_branch: bool | None = None,
    output_stride: Literal[8, 16, 32] = 32,
) -> ClassifierConfig:
    """Return a classifier's declaration by name or from a YAML file.

    Names: see this module. The file has a ``backbone``.

    Args:
        branches: training branches of each convolution that can have them; None leaves the backbone's own number.
        pointwise_branch: with or without a 1x1 branch beside those of larger kernels; None leaves it as it is.

    Raises:
        ConfigError: an unknown name, with the nearest ones, or parameter; or no branches to be with or without one.
    """
    config = _named(str(model)).model_copy(update={"output_stride": output_stride})
    options = {"branches": branches, "pointwise_branch": pointwise_branch}
    given = {key: value for key, value in options.items() if value is not None}
    if not given:
        return config
    part = config.backbone
    if "branches" in find_part("backbone", part.type).parameters:
        part = part.model_copy(update={"params": {**part.params, **given}})
        return config.model_copy(update={"backbone": part})
    if branches is None and config.branches is None:
        raise ConfigError(f"'{config.name}' has no branches, so pointwise_branch means nothing: give branches")
    return config.model_copy(update=given)


def build_classifier(
    config: ClassifierConfig, num_classes: int, in_channels: int = 3, dropout: float | None = None
) -> ImageClassifier:
    """Build a classifier with fresh weights.

    Args:
        dropout: probability before the last layer; None leaves the network's own.

    Raises:
        ConfigError: unknown part or parameter, or a network whose first strides cannot be taken out.
    """
    kind, params = config.backbone.type, dict(config.backbone.params)
    library = (kind, str(params["name"])) if kind in LIBRARIES and "name" in params else None
    model: Any
    if library is None:
        backbone = build_part("backbone", kind, params, {"in_channels": in_channels})
        library = getattr(backbone, "library", None)
    if library is None:
        layers = {**getattr(backbone, "classifier_layers", {}), "dropout": 0.2 if dropout is None else dropout}
        model = BackboneClassifier(config, in_channels, backbone=backbone, num_classes=num_classes, **layers)
    else:
        net = _library_network(*library, in_channels, num_classes, dropout)
        model = LibraryClassifier(config, net, num_classes, in_channels)
    keep_early_size(model, config.output_stride, in_channels, config.name)
    if config.branches is not None:
        model.backbone = add_branches(model, config.branches, pointwise=config.pointwise_branch, init="fresh").backbone
    return model


def _library_network(library: str, name: str, in_channels: int, num_classes: int, dropout: float | None) -> nn.Module:
    if library == "timm":
        options = {} if dropout is None else {"drop_rate": dropout}
        return timm_network(name, False, in_channels, num_classes, **options)
    net = torchvision_network(name, False, in_channels, num_classes=num_classes)
    for module in net.modules():
        if isinstance(module, nn.Dropout) and dropout is not None:
            module.p = dropout
    return net


def _named(name: str) -> ClassifierConfig:
    if name.endswith((".yaml", ".yml")):
        return _from_file(Path(name))
    stem, _, options = name.partition(":")
    stem, at, size = stem.partition("@")
    registered = next((part for part in (stem, stem.replace("-", "_")) if part in list_parts("backbone")), None)
    if registered is not None:
        params = scale_params("backbone", registered, _scale(size)) if at else {}
        params |= _options(options, bare="name" if registered in LIBRARIES else None, where=name)
        return ClassifierConfig(name=name, backbone=PartConfig(type=registered, params=params))
    if is_model_name(name):
        return _of_detector(fill_in(zoo_config(name)))
    for library in LIBRARIES:
        if name in _library_names(library, name):
            return ClassifierConfig(name=name, backbone=PartConfig(type=library, params={"name": name}))
    known = [*list_parts("backbone"), *list_models(), *_library_names("timm"), *_library_names("torchvision")]
    raise ConfigError(f"unknown model '{name}': {suggest(name, known)}")


def _of_detector(config: DetectorConfig) -> ClassifierConfig:
    return ClassifierConfig(name=config.name, backbone=config.backbone, mean=config.mean, std=config.std)


def _from_file(path: Path) -> ClassifierConfig:
    values = read_yaml(path, "model file")
    if "neck" in values:
        return _of_detector(fill_in(DetectorConfig.from_file(path)))
    return ClassifierConfig.from_dict({"name": path.stem, **values}, where=str(path))


def _library_names(library: str, name: str = "") -> list[str]:
    """Names of a library's classifiers; of timm's only ``name``, with or without a tag, where one is given."""
    if library == "timm":
        import timm

        return ([name] if timm.is_model(name) else []) if name else timm.list_models()
    import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _scale(size: str) -> str | float:
    try:
        return float(size)
    except ValueError:
        return size


def _options(text: str, bare: str | None, where: str) -> dict[str, Any]:
    """Parse ``key=value,key=value``; a text without ``=`` is the value of ``bare``."""
    options: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals and bare is None:
            raise ConfigError(f"model '{where}': '{item}' is no parameter: write NAME:key=value")
        options |= {key: parse_yaml(value)} if equals else {str(bare): item}
    return options

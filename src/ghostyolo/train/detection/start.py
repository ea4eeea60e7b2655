"""From names to a run: data set, network, training. What the command and ``Detector`` call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ghostyolo._version import __version__
from ghostyolo.data.join import load_datasets
from ghostyolo.data.letterbox import TRAINED_RESIZE
from ghostyolo.data.records import DetectionData
from ghostyolo.errors import ConfigError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.detector import DetectionModel, build_model, resolve_config
from ghostyolo.models.weights import load_checkpoint, read_checkpoint, transfer
from ghostyolo.runtime.weights import resolve_weights
from ghostyolo.text import printable
from ghostyolo.train.detection.fit import TrainResult, fit
from ghostyolo.train.detection.fit_anchors import adapt_anchors, adopt_anchors, declares_anchors
from ghostyolo.train.detection.qat import begin_rounding, check_classes, criterion_of, read_trained, with_qat_defaults
from ghostyolo.train.process import is_main_process
from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.run_folder import read_begun

NO_WEIGHTS = "none"  # as --weights: start from zero


def train_detector(
    data: str | Path | Sequence[str | Path] | None,
    model: str | Path | DetectorConfig | None = None,
    *,
    out: str | Path,
    weights: str | Path | None = None,
    backbone_weights: str | None = None,
    channels: int = 3,
    branches: int | None = None,
    pointwise_branch: bool | None = None,
    options: Mapping[str, Any] | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> TrainResult:
    """Train on a data set of any layout, or on several together.

    Args:
        data: its folder, data.yaml or COCO JSON, or several of them, each labelling only its own classes; on resume
            None means that of the run.
        model: name in the zoo, a YAML file or a declaration; may be left out where ``weights`` says it.
        out: folder of the run.
        weights: fine-tune these: "none" for random ones, a built-in name, a ``.safetensors`` file or
            ``hf://owner/repo/file``. Layers that do not fit, such as those of other classes, start anew.
        backbone_weights: pretrained backbone, as the model's own loader takes them.
        channels: of the pictures: 3, 1 (grey) or more.
        branches: re-parameterized branches of each convolution, instead of the model's own number.
        pointwise_branch: with or without a 1x1 branch beside those of larger kernels.
        options: recipe keys, see :class:`TrainRecipe`. A resume compares those given with the run's.
        resume: go on with the run in ``out``; what is not given is as it was begun.

    Raises:
        GhostYoloError: anything the user can mend; see :func:`ghostyolo.train.detection.fit.fit`.
    """
    given = {key: value for key, value in (options or {}).items() if value is not None}
    weights = None if weights == NO_WEIGHTS else weights
    if "teacher" in given:
        given["teacher"] = str(given["teacher"])
    begun: dict[str, Any] = {}
    if resume:
        recipe, begun = read_begun(out, TrainRecipe)
        stored = recipe.model_dump()
        given["augment"] = {**stored["augment"], **given.get("augment", {})}
        recipe = TrainRecipe.from_dict({**stored, **given})
        channels = begun["in_channels"]
        data = data if data is not None else begun["data"]
        weights = weights or begun.get("weights")
        backbone_weights = backbone_weights or begun.get("backbone_weights")
        if model is None:
            model = DetectorConfig.from_dict(begun["network"], where=str(out))
    else:
        recipe = TrainRecipe.from_dict(with_qat_defaults(given) if given.get("qat") else given)
    if data is None:
        raise ConfigError("no data set to train on: give --data PATH")
    dataset = load_datasets(data, recipe.join_classes)
    shown = (console or Console()) if is_main_process() else Console(quiet=True)
    for line in dataset.summary():
        shown.print(line, markup=False, highlight=False, soft_wrap=True)
    dataset.require_objects("train")
    # Every rank, and a resume before the first epoch's end, starts from the same weights.
    torch.manual_seed(recipe.seed)
    if recipe.qat:
        network, trained = read_trained(weights, None if resume else model, backbone_weights, branches)
        check_classes(trained, dataset)
        channels = trained.in_channels
        usual: int | None = trained.imgsz
    else:
        network = build_network(
            model,
            len(dataset.class_names),
            weights=weights,
            channels=channels,
            branches=branches,
            pointwise_branch=pointwise_branch,
        )
        usual = network.config.imgsz
    if not resume and "imgsz" not in given and usual is not None:
        recipe = recipe.model_copy(update={"imgsz": usual})
    if recipe.qat:
        begin_rounding(network, dataset, recipe, channels)
    else:
        _settle_anchors(network, dataset, recipe, begun, shown)
    if backbone_weights is not None:
        from ghostyolo.models.backbones.pretrained import load_backbone

        load_backbone(network, backbone_weights)
    metadata = ModelMetadata(
        version=__version__,
        model=network.config.name,
        class_names=dataset.class_names,
        imgsz=recipe.imgsz,
        pixel_range=dataset.pixel_range,
        stride=network.stride,
        resize=TRAINED_RESIZE,
        deployed=recipe.qat,
        in_channels=channels,
        mean=_per_channel(network.config.mean, channels),
        std=_per_channel(network.config.std, channels),
        nms=network.needs_nms,
        config=network.config.model_dump(mode="json"),
        metrics={"data": printable(dataset.root.name), "split": "val"},
    )
    origin = {
        name: None if source is None else str(source)
        for name, source in (("weights", weights), ("backbone_weights", backbone_weights))
    }
    criterion = criterion_of(network) if recipe.qat else None
    return fit(
        network, metadata, dataset, recipe, out, resume=resume, origin=origin, criterion=criterion, console=console
    )


def build_network(
    model: str | Path | DetectorConfig | None,
    num_classes: int,
    *,
    weights: str | Path | None = None,
    channels: int = 3,
    branches: int | None = None,
    pointwise_branch: bool | None = None,
) -> DetectionModel:
    """A fresh or pretrained network for so many classes.

    Raises:
        ConfigError: neither model nor weights, or folded weights (they cannot be trained well).
        WeightsError: weights that are missing, damaged or not ours.
    """
    overrides = {"branches": branches, "pointwise_branch": pointwise_branch}
    if weights is None:
        if model is None:
            raise ConfigError("which network? --model NAME (ghostyolo models lists them), or --weights W to fine-tune")
        return build_model(model, num_classes=num_classes, in_channels=channels, **overrides)
    path = resolve_weights(weights, suffixes=(".safetensors",))
    tensors, metadata = read_checkpoint(path)
    if metadata.deployed:
        raise ConfigError(f"{path} is folded for running: fine-tune the checkpoint that it was made from")
    if model is None:
        source, _ = load_checkpoint(path)
        config = resolve_config(source.config, **overrides)
        network = build_model(config, num_classes=num_classes, in_channels=channels)
    else:
        network = build_model(model, num_classes=num_classes, in_channels=channels, **overrides)
    kept = transfer(network, tensors)
    if len(kept) == len(network.state_dict()):
        raise ConfigError(f"nothing in {path} fits '{network.config.name}': leave --model out to use its own")
    return network


def _settle_anchors(
    network: DetectionModel, data: DetectionData, recipe: TrainRecipe, begun: dict[str, Any], console: Console
) -> None:
    """Anchors of the run to resume where it has its own, else those of the data where the default ones miss."""
    if declares_anchors(network):
        return
    if begun:
        anchors = begun["network"]["head"]["params"].get("anchors")
        if anchors is not None:
            adopt_anchors(network, anchors)
        return
    adapt_anchors(network, data, recipe.imgsz, seed=recipe.seed, console=console)


def _per_channel(values: tuple[float, ...], channels: int) -> list[float]:
    return list(values) if len(values) == channels else [values[0]] * channels

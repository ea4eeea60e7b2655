"""From names to a run: data set, network, training. What ``ghostyolo pretrain`` calls."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm.optim
import torch
from rich.console import Console

from ghostyolo._version import __version__
from ghostyolo.data.formats.classes import load_classes, load_pictures_alone
from ghostyolo.data.labelled import ClassificationData
from ghostyolo.errors import ConfigError, suggest
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.image_classifier import ClassifierConfig, ImageClassifier, build_classifier, classifier_config
from ghostyolo.train.classification.fit import fit_classifier
from ghostyolo.train.classification.unlabelled import NO_LABEL, fit_unlabelled
from ghostyolo.train.loop import TrainResult, check_device
from ghostyolo.train.recipe import ClassRecipe
from ghostyolo.train.run_folder import settle_recipe


def pretrain(
    data: str | Path | None,
    model: str | Path | None = None,
    *,
    out: str | Path,
    recipe: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> TrainResult[dict[str, Any]]:
    """Train a backbone as a classifier, or on pictures without labels.

    Args:
        data: a folder of class folders, or Parquet files; with ``labels=False`` any pictures; on resume None means that
            of the run.
        model: a name (:mod:`ghostyolo.models.image_classifier`) or a YAML file; on resume None means that of the run.
        out: folder of the run.
        recipe: name of a recipe of the package, or a YAML file.
        options: settings that come before it, by the names of :class:`ClassRecipe`.
        resume: go on with the run in ``out``; what is not given is as it was begun.

    Raises:
        GhostYoloError: anything the user can mend; see :func:`fit_classifier`.
    """
    wanted = settle_recipe(ClassRecipe, out, recipe=recipe, options=options, resume=resume)
    settings, begun = wanted.recipe, wanted.begun
    check_recipe(settings)
    data = data if data is not None else begun.get("data")
    if data is None:
        raise ConfigError("no data set to train on: give --data PATH")
    if model is not None:
        config = network_of(model, settings)
    elif begun:
        config = ClassifierConfig.from_dict(begun["network"], where=str(out))
    else:
        raise ConfigError("which network? --model NAME, such as ghostnetv3, mobilenetv2 or timm:resnet18")
    dataset = load_pictures(data, settings)
    # Every rank, and a resume before the first epoch's end, starts from the same weights.
    torch.manual_seed(settings.seed)
    network = build_classifier(config, len(dataset.class_names), settings.channels, settings.dropout)
    check_pictures(network, settings.imgsz, settings.channels)
    metadata = ModelMetadata(
        version=__version__,
        model=config.name,
        class_names=dataset.class_names,
        imgsz=settings.imgsz,
        stride=settings.output_stride,
        in_channels=settings.channels,
        mean=_per_channel(config.mean, settings.channels),
        std=_per_channel(config.std, settings.channels),
        nms=False,
        config=config.model_dump(mode="json"),
        pixel_range=dataset.pixel_range,
        metrics={"data": dataset.root.name, "split": "val"},
    )
    fit = fit_classifier if settings.labels else fit_unlabelled
    return fit(network, metadata, dataset, settings, out, resume=resume, place=os.path.abspath(data), console=console)


def load_pictures(data: str | Path, recipe: ClassRecipe) -> ClassificationData:
    """Read the data set that a recipe is to be trained on.

    Raises:
        DataError: it is missing, or no classification data.
    """
    if not recipe.labels:
        return load_pictures_alone(data, limit=recipe.limit, name=NO_LABEL)
    return load_classes(data, val_share=recipe.val_share, limit=recipe.limit, label_column=recipe.label_column)


def network_of(model: str | Path, recipe: ClassRecipe) -> ClassifierConfig:
    """The declaration of a network with the branches and the stride of a recipe.

    Raises:
        ConfigError: an unknown name or parameter.
    """
    return classifier_config(
        model,
        branches=recipe.branches,
        pointwise_branch=recipe.pointwise_branch,
        output_stride=recipe.output_stride,
    )


def check_recipe(recipe: ClassRecipe) -> None:
    """Refuse an optimiser or device that is not there.

    Raises:
        ConfigError: see above.
    """
    names = timm.optim.list_optimizers()
    if recipe.optimizer not in names:
        raise ConfigError(f"unknown optimizer '{recipe.optimizer}': {suggest(recipe.optimizer, names)}")
    check_device(recipe)


def check_pictures(network: ImageClassifier, imgsz: int, channels: int) -> None:
    """Refuse a network that cannot take the pictures before anything is written.

    Raises:
        ConfigError: see above.
    """
    name = network.config.name
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(2, channels, imgsz, imgsz))
    except Exception as error:  # whatever a network raises for a size that it cannot take
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"model '{name}' cannot take pictures of {imgsz} x {imgsz} ({reason}): change --imgsz"
        ) from error
    network.train()


def _per_channel(values: tuple[float, ...], channels: int) -> list[float]:
    return list(values) if len(values) == channels else [values[0]] * channels

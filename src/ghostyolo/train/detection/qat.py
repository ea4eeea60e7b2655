"""Fine-tuning for INT8: weights learn to stand rounding (``--set qat=true``).

The network is folded first, since rounding meets folded weights; its convolutions then round weights and inputs as INT8
files do (:mod:`ghostyolo.nn.fake_quant`), over ranges that are observed once, before the first step, and it is trained
on with its usual criterion at a small learning rate. Validation rounds too, so that the AP shown is nearly the INT8
file's. What is saved are plain float weights of the folded network (``deployed``), which export as any others.
"""

from __future__ import annotations

from typing import Any, cast

import torch

from ghostyolo.config import Options
from ghostyolo.data.records import DetectionData
from ghostyolo.errors import ConfigError, DataError
from ghostyolo.export.quantise.calibration import canvases_of_records
from ghostyolo.losses.registry import Criterion, build_criterion
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.weights import load_checkpoint
from ghostyolo.nn.fake_quant import observe, with_fake_quant
from ghostyolo.nn.reparam import fold
from ghostyolo.runtime.weights import resolve_weights
from ghostyolo.train.recipe import TrainRecipe

OBSERVED = 64  # training pictures that ranges are taken from


def with_qat_defaults(given: Options) -> Options:
    """Fill in settings for a short run at a small rate.

    Pictures stay as they are; settings that are given come first.
    """
    if not given.get("qat"):
        return given
    epochs, batch = given.get("epochs", 3), given.get("batch", 16)
    return {
        "epochs": epochs,
        "lr": 1e-4,
        "optimizer": "adamw",
        "warmup_epochs": 0.0,
        "nominal_batch": batch,
        "close_mosaic": epochs,
        **given,
    }


def read_trained(recipe: TrainRecipe, model: Any) -> tuple[DetectionModel, ModelMetadata]:
    """Read the trained network to start from, folded.

    Raises:
        ConfigError: no weights, or something that only a fresh network can have.
        WeightsError: weights that are missing, damaged or not ours.
    """
    if recipe.weights is None:
        raise ConfigError("qat fine-tunes trained weights for INT8: give --weights W")
    for name, value in (("model", model), ("backbone_weights", recipe.backbone_weights), ("branches", recipe.branches)):
        if value is not None:
            raise ConfigError(f"qat keeps the network of its weights as it is: leave {name} out")
    network, metadata = load_checkpoint(resolve_weights(recipe.weights, suffixes=(".safetensors",)))
    return cast(DetectionModel, fold(network)), metadata


def check_classes(trained: ModelMetadata, data: DetectionData) -> None:
    """Refuse another data set than the weights were trained for.

    Raises:
        ConfigError: other classes, or the same in another order.
    """
    if trained.class_names != data.class_names:
        raise ConfigError(
            f"qat goes on with the weights' classes {trained.class_names}, the data has {data.class_names}: "
            "train on that data first"
        )


def begin_rounding(network: DetectionModel, data: DetectionData, recipe: TrainRecipe) -> None:
    """Let the network's convolutions round, in place, over ranges of the train split.

    Raises:
        DataError: there is nothing to observe.
        ConfigError: the network has no plain convolution.
    """
    records = data.splits.get("train")
    if not records:
        raise DataError(f"{data.root} has no training pictures: its splits are {', '.join(data.splits) or 'none'}")
    network.requires_grad_(True)
    convs = with_fake_quant(network)
    if not convs:
        raise ConfigError(f"'{network.config.name}' has no convolution that INT8 files round")
    size = (recipe.imgsz, recipe.imgsz)
    with torch.no_grad(), observe(convs):
        for canvas in canvases_of_records(records, size, network.in_channels, OBSERVED, recipe.seed):
            network.eval()(torch.from_numpy(canvas))
    for conv in convs.values():
        conv.rounds = True


def criterion_of(network: DetectionModel) -> Criterion:
    """Build the criterion of a folded network's head.

    Of an end-to-end head only the deployed branch is left.
    """
    criterion = build_criterion(network.config.head.type, network.head)
    return getattr(criterion, "one", criterion)

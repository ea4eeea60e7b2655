"""Measures how long a picture takes, by a few real steps."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from ghostyolo.data.dataset import Batch, DetectionDataset, collate
from ghostyolo.data.records import DetectionData
from ghostyolo.data.sampler import EvenBatches
from ghostyolo.errors import DataError
from ghostyolo.losses.registry import build_criterion
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.detector import DetectionModel
from ghostyolo.nn.reparam import fold
from ghostyolo.runtime.engines import parse_device
from ghostyolo.train.detection.fit import training_sampler
from ghostyolo.train.detection.module import DetectionModule
from ghostyolo.train.distil.distiller import build_distiller
from ghostyolo.train.nan_guard import NanGuard
from ghostyolo.train.plan.rules import Pace
from ghostyolo.train.process import keep_freed_memory
from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.schedule import plan_schedule
from ghostyolo.train.threads import choose_threads

_UNTIMED, _LEAST_TIMED, _MOST_TIMED, _ENOUGH_SECONDS = 1, 2, 20, 4.0

Clock = Callable[[], float]


def measure_pace(
    network: DetectionModel,
    metadata: ModelMetadata,
    data: DetectionData,
    recipe: TrainRecipe,
    clock: Clock = time.perf_counter,
) -> Pace:
    """Time training steps and a validation step; the network stays as it is.

    Reading is left out where pictures stay in memory, since it is done once.

    Args:
        metadata: the network's.
        recipe: how; its epochs do not matter.
        clock: gives seconds; ``time.process_time`` on one thread does not count other programs.

    Raises:
        DataError: none of the pictures that were tried can be read.
    """
    torch.set_num_threads(choose_threads(recipe.threads).count)
    keep_freed_memory()
    device = _device(recipe)
    module = _module(network, metadata, data, recipe).to(device)
    dataset = DetectionDataset(data.splits["train"], recipe.imgsz, channels=metadata.in_channels, cache=recipe.cache)
    sampler = training_sampler(data, recipe)
    order = list(EvenBatches(sampler(), recipe.batch))
    seconds: list[float] = []
    batch: Batch | None = None
    steps = 0
    while steps < _UNTIMED + _LEAST_TIMED or (sum(seconds) < _ENOUGH_SECONDS and steps < _UNTIMED + _MOST_TIMED):
        if batch is None or recipe.cache == "none":
            begin = clock()
            batch = next((read for read in (_read(dataset, indices) for indices in order) if len(read)), None)
            reading = clock() - begin if recipe.cache == "none" else 0.0
        if batch is None:
            raise DataError(f"{data.root}: no training picture can be read")
        begin = clock()
        _step(module, batch, device)
        if steps >= _UNTIMED:
            seconds.append(clock() - begin + reading)
        steps += 1
    assert batch is not None
    seconds.sort()
    return Pace(len(sampler()), seconds[len(seconds) // 2] / len(batch), _validation(module, batch, device, clock))


def _read(dataset: DetectionDataset, indices: list[int]) -> Batch:
    return collate([dataset[index] for index in indices])


def _module(
    network: DetectionModel, metadata: ModelMetadata, data: DetectionData, recipe: TrainRecipe
) -> DetectionModule:
    network = copy.deepcopy(network)
    distiller, _ = build_distiller(network, metadata, recipe, Console(quiet=True))
    schedule = plan_schedule(recipe, num_classes=len(data.class_names), steps_per_epoch=1)
    criterion = build_criterion(network.config.head.type, network.head)
    module = DetectionModule(network, criterion, recipe, schedule, NanGuard([], Path()), distiller)
    if recipe.channels_last:
        module.model.to(memory_format=torch.channels_last)
    return module


def _step(module: DetectionModule, batch: Batch, device: torch.device) -> None:
    """One step as in training, at a rate of 0."""
    images, targets = module.network_input(batch.to(device), module.recipe.seed)
    loss: Tensor = module.losses(images, targets)["loss"]
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter in module.parameters():
        parameter.grad = None
    loss.item()  # waits for the device


@torch.no_grad()
def _validation(module: DetectionModule, batch: Batch, device: torch.device, clock: Clock) -> float:
    """Seconds of a picture in the folded network; what follows it is small beside."""
    model = fold(module.model).eval().to(device)
    side = module.recipe.imgsz
    images = torch.rand(len(batch), batch.images[0].shape[0], side, side, device=device)
    seconds = []
    for _ in range(2):
        begin = clock()
        output = model(images)
        output[0].sum().item()
        seconds.append(clock() - begin)
    return min(seconds) / len(images)


def _device(recipe: TrainRecipe) -> torch.device:
    if recipe.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, number = parse_device(recipe.device)
    return torch.device(kind, number) if kind == "cuda" else torch.device(kind)

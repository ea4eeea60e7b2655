"""Cells that ``pretrain`` trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from ghostyolo.ablate.tasks import (
    Figures,
    Settings,
    Setup,
    TaskKind,
    data_settings,
    digest_of,
    last_scores,
    network_settings,
)
from ghostyolo.data.labelled import ClassificationData, digest
from ghostyolo.errors import DataError
from ghostyolo.models.image_classifier import ClassifierConfig, build_classifier
from ghostyolo.train.classification.fit import RESULTS
from ghostyolo.train.classification.start import check_pictures, check_recipe, load_pictures, network_of
from ghostyolo.train.classification.teacher import build_teacher, teacher_digest
from ghostyolo.train.recipe import ClassRecipe, Recipe


class Classification(TaskKind):
    """``ghostyolo pretrain``; top-1 decides."""

    command = "pretrain"
    recipe_class = ClassRecipe
    scores = ("top1", "top5")
    titles = ("top-1", "top-5")
    results = RESULTS

    def __init__(self, data: str) -> None:
        super().__init__(data)
        self._read: dict[str, tuple[ClassificationData, Settings]] = {}
        self._built: set[str] = set()

    def setup(self, model: str, recipe: Recipe) -> Setup:
        assert isinstance(recipe, ClassRecipe)
        check_recipe(recipe)
        data, described = self._data(recipe)
        config = network_of(model, recipe)
        self._check_network(config, recipe.imgsz, len(data.class_names), recipe.channels)
        network = network_settings(config.model_dump(mode="json"))
        return Setup(model, recipe, self.settings(recipe, network, described))

    def check_teacher(self, student: Setup, taught_here: Setup | None) -> str:
        recipe = student.recipe
        assert isinstance(recipe, ClassRecipe)
        channels = recipe.channels
        class_names = self._data(recipe)[0].class_names
        if taught_here is None:
            build_teacher(recipe, class_names, channels)
            return str(teacher_digest(recipe))
        assert isinstance(taught_here.recipe, ClassRecipe)
        side = recipe.teacher_imgsz or recipe.imgsz
        config = network_of(taught_here.model, taught_here.recipe)
        self._check_network(config, side, len(class_names), channels)
        return digest_of(taught_here.settings)

    def figures(self, folder: Path, costs: Mapping[str, int | None]) -> Figures:
        metrics = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        return Figures(
            last=last_scores(folder, self.scores),
            best={name: metrics[name] for name in self.scores},
            images_per_second=metrics["images_per_second"],
            training_seconds=metrics["training_seconds"],
            params_deployed=metrics["params_deployed"],
            macs_deployed=metrics["macs_deployed"],
        )

    def _data(self, recipe: ClassRecipe) -> tuple[ClassificationData, Settings]:
        key = digest_of([recipe.val_share, recipe.limit, recipe.label_column])
        if key not in self._read:
            data = load_pictures(self.data, recipe)
            if not len(data.splits.get("val", [])):
                raise DataError(f"{self.data} has no validation pictures: give some, or a val_share above 0")
            self._read[key] = (data, data_settings(data.class_names, data.splits, digest))
        return self._read[key]

    def _check_network(self, config: ClassifierConfig, imgsz: int, classes: int, channels: int) -> None:
        key = digest_of([config.model_dump(mode="json"), imgsz, channels])
        if key not in self._built:
            with torch.random.fork_rng(devices=[]):
                check_pictures(build_classifier(config, classes, channels), imgsz, channels)
            self._built.add(key)

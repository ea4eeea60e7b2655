"""Cells that ``train`` trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
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
    start_settings,
)
from ghostyolo.config import Options
from ghostyolo.data.formats import load_dataset
from ghostyolo.data.records import DetectionData
from ghostyolo.data.split import with_validation
from ghostyolo.metadata import check_imgsz
from ghostyolo.models.count import count_parameters, try_count_macs
from ghostyolo.nn.reparam import fold
from ghostyolo.train.detection.fit import check_run
from ghostyolo.train.detection.start import Prepared, prepare
from ghostyolo.train.distil.compatibility import compare
from ghostyolo.train.distil.teacher import find_teacher, read_teacher
from ghostyolo.train.recipe import Recipe, TrainRecipe
from ghostyolo.train.run_folder import file_digest, records_digest

_RESULTS = "results.json"


class Detection(TaskKind):
    """``ghostyolo train``; COCO's AP decides."""

    command = "train"
    recipe_class = TrainRecipe
    scores = ("AP", "AP50")
    titles = ("AP", "AP50")
    results = _RESULTS

    def __init__(self, data: str) -> None:
        super().__init__(data)
        self._read: tuple[DetectionData, Settings] | None = None
        self._built: dict[str, tuple[Prepared, dict[str, int | None]]] = {}

    def resolve(self, options: Options, where: str) -> Recipe:
        # What is not given is the default of recipes, on every machine.
        return super().resolve(options, where).model_copy(update={"plan": False})

    def setup(self, model: str, recipe: Recipe) -> Setup:
        assert isinstance(recipe, TrainRecipe)
        data, described = self._data()
        prepared, costs = self._prepared(model, recipe)
        check_run(prepared.metadata(data), data, prepared.recipe)
        declared = network_settings(prepared.network.config.model_dump(mode="json"))
        return Setup(model, prepared.recipe, self.settings(prepared.recipe, declared, described), costs)

    def check_teacher(self, student: Setup, taught_here: Setup | None) -> str:
        data = self._data()[0]
        assert isinstance(student.recipe, TrainRecipe)
        prepared, _ = self._prepared(student.model, student.recipe)
        recipe = prepared.recipe
        source = str(recipe.teacher)
        if taught_here is None:
            path = find_teacher(source)
            teacher = read_teacher(source, path, prepared.metadata(data), recipe.imgsz).net
            identity = f"{path.name} {file_digest(path)}"
        else:
            assert isinstance(taught_here.recipe, TrainRecipe)
            teacher = self._prepared(taught_here.model, taught_here.recipe)[0].network
            check_imgsz(recipe.imgsz, teacher.stride, ", as the teacher needs")
            identity = digest_of(taught_here.settings)
        compare(prepared.network, teacher, source).choose(recipe.distil.weights(), recipe.distil.by_name, source)
        return identity

    def figures(self, folder: Path, costs: Mapping[str, int | None]) -> Figures:
        results = json.loads((folder / _RESULTS).read_text(encoding="utf-8"))
        pictures = len(self._data()[0].splits["train"]) * results["epochs"]
        seconds = results["training_seconds"]
        return Figures(
            last=last_scores(folder, self.scores),
            best={name: results["metrics"][name] for name in self.scores},
            images_per_second=round(pictures / seconds, 1) if seconds else None,
            training_seconds=seconds,
            params_deployed=costs.get("params_deployed"),
            macs_deployed=costs.get("macs_deployed"),
        )

    def _data(self) -> tuple[DetectionData, Settings]:
        if self._read is None:
            data = with_validation(load_dataset(self.data))
            data.warn()
            used = {split: records for split, records in data.splits.items() if split in ("train", "val")}
            self._read = (data, data_settings(data.class_names, used, records_digest))
        return self._read

    def _prepared(self, model: str, recipe: TrainRecipe) -> tuple[Prepared, dict[str, int | None]]:
        """A cell's network and recipe, and what the network costs; cells with equal networks share one."""
        own_size = "imgsz" in recipe.model_fields_set
        key = digest_of(
            [model, start_settings(recipe), recipe.branches, recipe.pointwise_branch, recipe.imgsz, own_size]
        )
        if key not in self._built:
            with torch.random.fork_rng(devices=[]):
                prepared = prepare(model, recipe, self._data()[0])
            folded = fold(prepared.network.eval())
            costs: dict[str, int | None] = {
                "params_deployed": count_parameters(folded),
                "macs_deployed": try_count_macs(folded, prepared.recipe.imgsz, recipe.channels),
            }
            self._built[key] = (prepared, costs)
        prepared, costs = self._built[key]
        return replace(prepared, recipe=recipe.model_copy(update={"imgsz": prepared.recipe.imgsz})), costs

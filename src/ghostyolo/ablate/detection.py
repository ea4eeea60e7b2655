"""Cells that ``train`` trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from ghostyolo.ablate.grid import Options
from ghostyolo.ablate.settings import Settings, digest_of, file_identity, network_settings
from ghostyolo.ablate.tasks import Figures, Setup, TaskKind, last_scores
from ghostyolo.data.formats import load_dataset
from ghostyolo.data.records import DetectionData
from ghostyolo.errors import DataError
from ghostyolo.metadata import ModelMetadata, check_imgsz
from ghostyolo.models.count import count_parameters, try_count_macs
from ghostyolo.models.detector import DetectionModel
from ghostyolo.nn.reparam import fold
from ghostyolo.train.detection.fit import check_run
from ghostyolo.train.detection.start import build_network
from ghostyolo.train.distil.matching import compare
from ghostyolo.train.distil.teacher import find_teacher, read_teacher
from ghostyolo.train.recipe import Recipe, TrainRecipe, read_recipe_file
from ghostyolo.train.run_folder import file_digest, records_digest

_RESULTS = "results.json"


class Detection(TaskKind):
    """``ghostyolo train``; COCO's AP decides."""

    command = "train"
    recipe_class = TrainRecipe
    extras: ClassVar[dict[str, type]] = {
        "branches": int, "pointwise_branch": bool, "channels": int, "weights": str, "backbone_weights": str,
    }  # fmt: skip
    scores = ("AP", "AP50")
    titles = ("AP", "AP50")
    results = _RESULTS

    def __init__(self, data: str) -> None:
        super().__init__(data)
        self._read: tuple[DetectionData, Settings] | None = None
        self._built: dict[str, tuple[DetectionModel, dict[str, int | None]]] = {}

    def recipe_file(self, recipe: Any) -> Options:
        return read_recipe_file(recipe)

    def setup(self, model: str, recipe: Recipe, extras: Options) -> Setup:
        assert isinstance(recipe, TrainRecipe)
        data, described = self._data()
        network, costs = self._network(model, recipe, extras, data)
        if "imgsz" not in recipe.model_fields_set and network.config.imgsz is not None:
            recipe = recipe.model_copy(update={"imgsz": network.config.imgsz})
        check_run(_metadata(network, recipe, extras, data), data, recipe)
        named = {
            key: file_identity(str(value)) if key.endswith("weights") else value
            for key, value in extras.items()
            if key not in ("branches", "pointwise_branch")  # they are in the network's declaration
        }
        declared = network_settings(network.config.model_dump(mode="json"))
        return Setup(model, recipe, extras, self.settings(recipe, named, declared, described), costs)

    def check_teacher(self, student: Setup, taught_here: Setup | None) -> str:
        recipe, data = student.recipe, self._data()[0]
        assert isinstance(recipe, TrainRecipe)
        source = str(recipe.teacher)
        network, _ = self._network(student.model, recipe, student.extras, data)
        if taught_here is None:
            path = find_teacher(source)
            teacher = read_teacher(source, path, _metadata(network, recipe, student.extras, data), recipe.imgsz).net
            identity = f"{path.name} {file_digest(path)}"
        else:
            assert isinstance(taught_here.recipe, TrainRecipe)
            teacher, _ = self._network(taught_here.model, taught_here.recipe, taught_here.extras, data)
            check_imgsz(recipe.imgsz, teacher.stride, ", as the teacher needs")
            identity = digest_of(taught_here.settings)
        compare(network, teacher, source).choose(recipe.distil.weights(), recipe.distil.by_name, source)
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
            data = load_dataset(self.data)
            if not data.splits.get("val"):
                raise DataError(f"{self.data} has no val split: nothing can be compared")
            splits: Settings = {
                split: {"pictures": len(data.splits[split]), "digest": records_digest(data.splits[split])}
                for split in ("train", "val")
                if split in data.splits
            }
            self._read = (data, {"class_names": data.class_names, **splits})
        return self._read

    def _network(
        self, model: str, recipe: TrainRecipe, extras: Options, data: DetectionData
    ) -> tuple[DetectionModel, dict[str, int | None]]:
        channels = extras.get("channels", 3)
        asked = {key: extras.get(key) for key in ("weights", "branches", "pointwise_branch")}
        key = digest_of([model, asked, channels, recipe.imgsz])
        if key not in self._built:
            with torch.random.fork_rng(devices=[]):
                network = build_network(model, len(data.class_names), channels=channels, **asked)
            folded = fold(network.eval())
            side = recipe.imgsz if "imgsz" in recipe.model_fields_set else network.config.imgsz or recipe.imgsz
            costs: dict[str, int | None] = {
                "params_deployed": count_parameters(folded),
                "macs_deployed": try_count_macs(folded, side, channels),
            }
            self._built[key] = (network, costs)
        return self._built[key]


def _metadata(network: DetectionModel, recipe: TrainRecipe, extras: Options, data: DetectionData) -> ModelMetadata:
    return ModelMetadata(
        model=network.config.name,
        class_names=data.class_names,
        imgsz=recipe.imgsz,
        stride=network.stride,
        in_channels=extras.get("channels", 3),
    )

"""From names to a run: recipe, data set, network, training.

The command, ``Detector``, ``ablate`` and ``demo`` all come through here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from rich.console import Console

from ghostyolo._version import __version__
from ghostyolo.config import Options, merge_options, spread_dots
from ghostyolo.data.join import load_datasets
from ghostyolo.data.letterbox import TRAINED_RESIZE
from ghostyolo.data.records import DetectionData
from ghostyolo.data.split import with_validation
from ghostyolo.errors import ConfigError
from ghostyolo.metadata import ModelMetadata, Origin
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.detector import DetectionModel, build_model, resolve_config
from ghostyolo.models.transfer import Adopted, adopt_weights
from ghostyolo.models.weights import load_checkpoint, origins_of, read_checkpoint
from ghostyolo.runtime.weights import resolve_weights, start_names, start_weights
from ghostyolo.text import printable
from ghostyolo.train.detection.adapt_anchors import adapt_anchors, adopt_anchors, declares_anchors
from ghostyolo.train.detection.fit import fit
from ghostyolo.train.detection.planning import START, Model, Planner, refuse_contradictions
from ghostyolo.train.detection.qat import begin_rounding, check_classes, criterion_of, read_trained, with_qat_defaults
from ghostyolo.train.distil.teacher import find_teacher
from ghostyolo.train.loop import TrainResult, main_console
from ghostyolo.train.plan.plan import PLAN, Plan, print_plan
from ghostyolo.train.process import is_main_process
from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.run_folder import refuse_taken, settle_recipe


@dataclass(frozen=True)
class Prepared:
    """A network that is ready to learn from a data set.

    Attributes:
        recipe: with the picture size that the network is meant for, where none was given.
        deployed: its branches are folded, and training rounds as INT8 files do.
        adopted: what it kept of weights for other data; None without such.
    """

    network: DetectionModel
    recipe: TrainRecipe
    deployed: bool
    adopted: Adopted | None = None

    def metadata(self, data: DetectionData) -> ModelMetadata:
        """What its checkpoints say."""
        config = self.network.config
        channels = self.network.in_channels
        return ModelMetadata(
            version=__version__,
            model=config.name,
            class_names=data.class_names,
            imgsz=self.recipe.imgsz,
            pixel_range=data.pixel_range,
            stride=self.network.stride,
            resize=TRAINED_RESIZE,
            deployed=self.deployed,
            in_channels=channels,
            mean=_per_channel(config.mean, channels),
            std=_per_channel(config.std, channels),
            nms=self.network.needs_nms,
            config=config.model_dump(mode="json"),
            metrics={"data": printable(data.root.name), "split": "val"},
        )

    def origins(self) -> list[Origin]:
        """Published weights that go into what is trained, each once.

        They must be there, unlike those that a plan only names.
        """
        origins: list[Origin] = []
        recipe = self.recipe
        if recipe.weights not in (None, START):
            origins += origins_of(resolve_weights(recipe.weights, suffixes=(".safetensors",)), "weights")
        if recipe.backbone_weights is not None:
            origins += origins_of(recipe.backbone_weights, "backbone")
        if recipe.teacher is not None:
            origins += origins_of(find_teacher(recipe.teacher), "teacher")
        return [origin for place, origin in enumerate(origins) if origin not in origins[:place]]


def train_detector(
    data: str | Path | Sequence[str | Path] | None,
    model: str | Path | DetectorConfig | None = None,
    *,
    out: str | Path,
    recipe: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    console: Console | None = None,
) -> TrainResult:
    """Train on a data set of any layout, or on several together.

    Args:
        data: its folder, data.yaml or COCO JSON, or several of them, each labelling only its own classes; on resume
            None means that of the run.
        model: name in the zoo, a YAML file or a declaration; may be left out where the weights to start from say it.
        out: folder of the run.
        recipe: YAML file of settings.
        options: settings that come before it, by the names of :class:`TrainRecipe`. A resume compares those given with
            the run's.
        resume: go on with the run in ``out``; what is not given is as it was begun.
        callbacks: Lightning's, beside those of every run.
        console: where progress is shown.

    Raises:
        GhostYoloError: anything the user can mend; see :func:`ghostyolo.train.detection.fit.fit`.
    """
    if not resume and is_main_process():
        refuse_taken(out)  # before the plan, which may take minutes
    wanted = settle_recipe(TrainRecipe, out, recipe=recipe, options=options, resume=resume, usual=with_qat_defaults)
    data = data if data is not None else wanted.begun.get("data")
    if data is None:
        raise ConfigError("no data set to train on: give --data PATH")
    dataset = with_validation(load_datasets(data, wanted.recipe.join_classes), Path(out) if resume else None)
    console = main_console(console)
    for line in dataset.summary():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    dataset.require_objects("train")
    if model is None and wanted.begun and not wanted.recipe.qat:
        model = DetectorConfig.from_dict(wanted.begun["network"], where=str(out))
    asked, planner = wanted.recipe, None
    if not wanted.begun:
        refuse_contradictions(asked, wanted.given, model)
        if (asked.plan and not asked.qat) or asked.minutes is not None:
            planner = Planner(asked, dataset, console)
        if asked.plan and planner is not None:
            model, asked = planner.choose_network(model)
        else:
            asked = _with_start(model, asked, console)
    prepared = prepare(model, asked, dataset)
    if prepared.adopted is not None and not wanted.begun:
        console.print(_begins(prepared), markup=False, highlight=False, soft_wrap=True)
    learns_anew = _learns_anew(prepared, dataset)
    if planner is not None:
        settled = planner.choose_training(prepared.network, prepared.recipe, prepared.metadata(dataset), learns_anew)
        if asked.probe:
            settled = planner.probe(partial(_short_training, planner.plan, model, dataset))
        print_plan(console, planner.finish())
        prepared = replace(prepared, recipe=settled)
    network, settled = prepared.network, prepared.recipe
    if settled.qat:
        begin_rounding(network, dataset, settled)
    else:
        _settle_anchors(network, dataset, settled, wanted.begun, console)
        _warn_of_long_boxes(network, dataset, settled.imgsz, console)
    return fit(
        network,
        prepared.metadata(dataset).model_copy(update={"derived_from": prepared.origins()}),
        dataset,
        settled,
        out,
        resume=resume,
        learns_anew=learns_anew,
        criterion=criterion_of(network) if settled.qat else None,
        files={PLAN: planner.plan.to_yaml()} if planner is not None else None,
        callbacks=callbacks,
        console=console,
    )


def _short_training(plan: Plan, model: Model, data: DetectionData, change: Options, seed: int, epochs: int) -> float:
    """AP of the plan with something changed, after some epochs."""
    short = {"epochs": epochs, "val_every": epochs, "seed": seed, "plots": False, "tensorboard": False}
    settings = plan.recipe().model_dump(exclude_unset=True, exclude={"close_mosaic", "minutes"})
    recipe = TrainRecipe.from_dict(merge_options(settings, spread_dots({**short, **change})), "probe")
    silent = Console(quiet=True)
    prepared = prepare(model, recipe, data)
    _settle_anchors(prepared.network, data, recipe, {}, silent)
    with tempfile.TemporaryDirectory(prefix="ghostyolo-probe-") as folder:
        result = fit(
            prepared.network,
            prepared.metadata(data),
            data,
            recipe,
            Path(folder) / "run",
            learns_anew=_learns_anew(prepared, data),
            console=silent,
        )
    return (result.metrics.AP if result.metrics is not None else None) or 0.0


def _learns_anew(prepared: Prepared, data: DetectionData) -> bool:
    """Whether the weights know nothing of some class."""
    return prepared.adopted is not None and len(prepared.adopted.classes) < len(data.class_names)


def prepare(model: str | Path | DetectorConfig | None, recipe: TrainRecipe, data: DetectionData) -> Prepared:
    """Build the network that a recipe asks for, with its weights.

    Raises:
        ConfigError: neither model nor weights, weights that nothing can be trained from, or other classes.
        WeightsError: weights that are missing, damaged or not ours.
    """
    # Every rank, and a resume before the first epoch's end, starts from the same weights.
    torch.manual_seed(recipe.seed)
    adopted = None
    if recipe.qat:
        network, trained = read_trained(recipe, model)
        check_classes(trained, data)
        usual: int | None = trained.imgsz
    else:
        network, adopted = _build(model, data.class_names, recipe)
        usual = network.config.imgsz
        if recipe.backbone_weights is not None:
            from ghostyolo.models.backbones.pretrained import load_backbone

            load_backbone(network, recipe.backbone_weights)
    if "imgsz" not in recipe.model_fields_set and usual is not None:
        recipe = recipe.model_copy(update={"imgsz": usual})
    return Prepared(network, recipe, recipe.qat, adopted)


def _with_start(model: str | Path | DetectorConfig | None, recipe: TrainRecipe, console: Console) -> TrainRecipe:
    """Add the network's start weights to a recipe that says nothing of weights; say where there are none."""
    silent = "weights" not in recipe.model_fields_set and recipe.backbone_weights is None and not recipe.qat
    if model is None or not silent:
        return recipe
    name = resolve_config(model).name
    if start_weights(name) is not None:
        return recipe.model_copy(update={"weights": START})
    console.print(f"'{name}' has no start weights: it starts from zero", markup=False, highlight=False, soft_wrap=True)
    return recipe


def _begins(prepared: Prepared) -> str:
    weights = prepared.recipe.weights
    if weights != START:
        return f"starts from {weights}: {prepared.adopted}"
    name = prepared.network.config.name
    return f"starts from the start weights of {name}: {prepared.adopted}; --weights none starts from zero"


def _build(
    model: str | Path | DetectorConfig | None, class_names: Sequence[str], recipe: TrainRecipe
) -> tuple[DetectionModel, Adopted | None]:
    """A fresh or pretrained network, and what it kept of weights."""
    num_classes = len(class_names)
    overrides = {"branches": recipe.branches, "pointwise_branch": recipe.pointwise_branch}
    if recipe.weights is None:
        if model is None:
            raise ConfigError("which network? --model NAME (ghostyolo models lists them), or --weights W to fine-tune")
        return build_model(model, num_classes=num_classes, in_channels=recipe.channels, **overrides), None
    path = _start_of(model) if recipe.weights == START else resolve_weights(recipe.weights, suffixes=(".safetensors",))
    tensors, metadata = read_checkpoint(path)
    if metadata.deployed:
        raise ConfigError(f"{path} is folded for running: fine-tune the checkpoint that it was made from")
    if model is None:
        model = load_checkpoint(path)[0].config
    network = build_model(model, num_classes=num_classes, in_channels=recipe.channels, **overrides)
    adopted = adopt_weights(network, class_names, tensors, metadata.class_names)
    if not adopted.kept:
        raise ConfigError(f"nothing in {path} fits '{network.config.name}': leave --model out to use its own")
    return network, adopted


def _start_of(model: str | Path | DetectorConfig | None) -> Path:
    if model is None:
        raise ConfigError("start weights of which network? --model NAME (ghostyolo models lists them)")
    name = resolve_config(model).name
    path = start_weights(name)
    if path is None:
        raise ConfigError(f"'{name}' has no start weights; those with: {', '.join(start_names()) or 'none'}")
    return path


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


def _warn_of_long_boxes(network: DetectionModel, data: DetectionData, imgsz: int, console: Console) -> None:
    """Say how many boxes are longer than the head's distributions reach."""
    bins = getattr(network.head, "bins", None)
    if bins is None:
        return
    reach = 2 * (bins - 1) * network.stride  # to both sides of a cell of the coarsest level
    sides = [
        (record.boxes_xyxy[:, 2:] - record.boxes_xyxy[:, :2]).max(axis=1) * imgsz / max(record.width, record.height)
        for record in data.splits["train"]
    ]
    long, count = sum(int((side > reach).sum()) for side in sides), sum(map(len, sides))
    if long:
        console.print(
            f"{long} of {count} training boxes are longer than {reach} pixels at imgsz {imgsz}, where the head's "
            f"{bins} bins end: they cannot be learned; lower imgsz, or give the head more bins",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _per_channel(values: tuple[float, ...], channels: int) -> list[float]:
    return list(values) if len(values) == channels else [values[0]] * channels

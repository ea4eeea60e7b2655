"""How a classifier is trained: every knob by the name it has as a flag, in YAML and in Python.

The defaults are an ordinary ImageNet training; the recipes that come with the package are in ``recipes/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from ghostyolo.data.class_transforms import ClassAugment
from ghostyolo.errors import ConfigError, suggest
from ghostyolo.train.recipe import Recipe, read_recipe_file


class ClassRecipe(Recipe):
    """One training run of a classifier. Keys that are not here are described in :class:`TrainRecipe`.

    Attributes:
        imgsz: side of the square training pictures in pixels.
        batch: pictures in one step of one device.
        nominal_batch: gradients are accumulated until all devices together saw about so many; None: no accumulation.
        optimizer: any of timm's, such as "lamb", "adamw", "sgd" (Nesterov).
        lr: peak learning rate, for one optimiser step over ``nominal_batch`` pictures.
        momentum: of SGD and its like.
        weight_decay: none on batch norms and biases.
        schedule: "cosine" to ``final_lr`` of the peak; or "step": times ``decay_rate`` every ``decay_epochs``.
        warmup_epochs: the learning rate rises linearly from ``warmup_lr``.
        label_smoothing: share of each target that is spread over all classes.
        teacher: a checkpoint of ours or a network of timm's to learn from; None: none.
        teacher_weights: weights file for a network of timm's; None: its pretrained ones.
        teacher_imgsz: pictures are resized to this side for the teacher; None: it sees what the student sees.
        teacher_cache: folder for the teacher's logits; None: they are computed in every run.
        alpha: share of the teacher in the loss, 0 to 1.
        tau: temperature of both distributions, above 0.
        branches: re-parameterized branches of each convolution in training; None: the network's own number.
        pointwise_branch: a 1x1 branch beside the branches of larger kernels; None: as the network has it (yes).
        output_stride: 32 as published; 16: the first layer keeps the picture's size; 8: so does the next halving.
        dropout: before the last layer; None: the network's own.
        val_crop: share of the shorter side that is validated on.
        val_share: of the training pictures, held out where the data has no validation split.
        limit: train on at most so many pictures, evenly of all classes; None: on all.
        augment: strengths of augmentation.
    """

    epochs: int = Field(100, ge=1)
    imgsz: int = Field(224, ge=8)
    batch: int = Field(256, ge=1)
    nominal_batch: int | None = Field(None, ge=1)
    optimizer: str = "adamw"
    lr: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.05, ge=0)
    schedule: Literal["cosine", "step"] = "cosine"
    final_lr: float = Field(0.0, ge=0, le=1)
    decay_rate: float = Field(0.97, gt=0, le=1)
    decay_epochs: float = Field(2.4, gt=0)
    warmup_epochs: float = Field(5.0, ge=0)
    warmup_lr: float = Field(1e-6, ge=0)
    gradient_clip: float = Field(0.0, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    teacher: str | None = None
    teacher_weights: str | None = None
    teacher_imgsz: int | None = Field(None, ge=8)
    teacher_cache: str | None = None
    alpha: float = Field(0.5, ge=0, le=1)
    tau: float = Field(1.0, gt=0)
    branches: int | None = Field(None, ge=1)
    pointwise_branch: bool | None = None
    output_stride: Literal[8, 16, 32] = 32
    dropout: float | None = Field(None, ge=0, lt=1)
    val_crop: float = Field(0.875, gt=0, le=1)
    val_share: float = Field(0.1, ge=0, lt=1)
    val_batch: int = Field(256, ge=1)
    patience: int = Field(0, ge=0)
    limit: int | None = Field(None, ge=2)
    cache: Literal["ram", "none"] = "none"
    augment: ClassAugment = Field(default_factory=lambda: ClassAugment.model_validate({}))


def named_recipes() -> dict[str, str]:
    """Name to YAML text of the recipes of the package."""
    folder = resources.files("ghostyolo.train.classification") / "recipes"
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


def recipe_values(recipe: str | Path | None) -> dict[str, Any]:
    """Keys of a recipe by its name in the package or its YAML file; of no recipe, none.

    Raises:
        ConfigError: neither a name nor a file.
    """
    if recipe is None:
        return {}
    if str(recipe).endswith((".yaml", ".yml")):
        return read_recipe_file(recipe)
    recipes = named_recipes()
    if str(recipe) not in recipes:
        raise ConfigError(f"unknown recipe '{recipe}': {suggest(str(recipe), recipes)}, or a .yaml file")
    values: dict[str, Any] = yaml.safe_load(recipes[str(recipe)])
    return values


def merged(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's keys with others in their place; keys of ``augment`` may be given at the top as well."""
    inner = {key: value for key, value in given.items() if key in ClassAugment.model_fields}
    outer = {key: value for key, value in given.items() if key not in inner and key != "augment"}
    augment = {**(values.get("augment") or {}), **(given.get("augment") or {}), **inner}
    return {**values, **outer, **({"augment": augment} if augment else {})}

"""How a detector is trained: every knob by the name it has as a flag, in YAML and in Python. No torch.

The defaults are those customary for YOLO detectors trained from scratch (the published recipes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ghostyolo.data.augment.config import AugmentConfig
from ghostyolo.errors import ConfigError, suggest
from ghostyolo.train.distil.config import DistilConfig

# They say where and how fast, not what is learned: a run may be resumed with others.
RESUMABLE_WITH_OTHER = frozenset(
    {"device", "workers", "cache", "threads", "plots", "tensorboard", "val_batch", "teacher_cache"}
)

# PyYAML follows YAML 1.1, where 1e-3 without a dot is text.
_FLOAT_TEXT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


R = TypeVar("R", bound="Recipe")


class Recipe(BaseModel):
    """Strict keys, errors of one line, comparison with a run that is to be resumed; and the keys of every recipe.

    They are described in :class:`TrainRecipe`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    epochs: int = Field(100, ge=1)
    batch: int = Field(16, ge=1)
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    ema_ramp: float | None = Field(None, gt=0)
    gradient_clip: float = Field(10.0, ge=0)
    patience: int = Field(100, ge=0)
    val_every: int = Field(1, ge=1)
    val_batch: int = Field(16, ge=1)
    seed: int = Field(0, ge=0)
    precision: Literal["32", "16", "bf16"] = "32"
    deterministic: bool = True
    device: str = "auto"
    devices: int = Field(1, ge=1)
    num_nodes: int = Field(1, ge=1)
    sync_batchnorm: bool = False
    threads: int | None = Field(None, ge=1)
    workers: int = Field(0, ge=0)
    cache: Literal["ram", "none"] = "ram"
    channels_last: bool = False
    tensorboard: bool = True

    @classmethod
    def from_dict(cls: type[R], values: Mapping[str, Any], where: str = "recipe") -> R:
        """Validate options by name; None means "as by default".

        Raises:
            ConfigError: an unknown key, with the nearest valid one, or a wrong or impossible value.
        """
        given = {key: value for key, value in values.items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigError(f"{where}: {_first_error(error, cls)}") from error

    def difference(self, other: Recipe) -> tuple[str, Any, Any] | None:
        """Return the first key that changes what is learned and both its values, or None."""
        for key in type(self).model_fields:
            mine, theirs = getattr(self, key), getattr(other, key)
            if key in RESUMABLE_WITH_OTHER or mine == theirs:
                continue
            if isinstance(mine, BaseModel):
                for inner in type(mine).model_fields:
                    if getattr(mine, inner) != getattr(theirs, inner):
                        return f"{key}.{inner}", getattr(mine, inner), getattr(theirs, inner)
            return key, mine, theirs
        return None


class TrainRecipe(Recipe):
    """One training run of a detector.

    Attributes:
        epochs: passes over the training split.
        imgsz: side of the square training pictures, in pixels; a multiple of the model's stride.
        batch: pictures in one step of one device.
        nominal_batch: gradients are accumulated until all devices together saw about so many pictures; None: up to 64,
            but no more than leaves the run 5000 optimiser steps.
        optimizer: "auto" is AdamW for runs of up to 10000 optimiser steps, with lr 0.006 x 5 / (4 + classes) from
            scratch and a third of it from trained weights, else SGD.
        lr: peak learning rate; None: "auto"'s rule, 0.01 for SGD, 0.001 for AdamW.
        final_lr: the last learning rate as a fraction of the peak; cosine in between.
        momentum: of SGD (Nesterov) and beta1 of AdamW; None: 0.937 for SGD, 0.9 for AdamW.
        weight_decay: on weights of two or more dimensions only, none on batch norms and biases.
        warmup_epochs: the learning rate rises linearly, step by step, over so many epochs.
        warmup_momentum: SGD's momentum at the first step.
        warmup_bias_lr: learning rate of biases at the first step; None: 0.1 for SGD, 0 for AdamW.
        ema_decay: of the averaged weights, which are the ones validated and saved; 0 switches averaging off.
        ema_ramp: the decay grows as 1 - exp(-updates / ema_ramp); None: so that in the end the average covers about the
            last tenth of the run's optimiser steps, at most 2000.
        gradient_clip: largest norm of all gradients together; 0 switches clipping off.
        close_mosaic: no mosaic in the last so many epochs; None: a sixth of them, at most 10.
        patience: stop after so many epochs without a better AP; 0 switches it off.
        val_every: validate every so many epochs, and after the last.
        val_batch: pictures in one step of validation.
        seed: of weights, order, augmentation and dropout.
        precision: "32", "16" or "bf16" (the last two mixed).
        deterministic: on CUDA, only algorithms that give the same result each time (the CPU's always do).
        device: "auto", "cpu", "cuda" or "cuda:N".
        devices, num_nodes: more than one trains in parallel, by Lightning's DDP.
        sync_batchnorm: batch norms see the pictures of all devices.
        threads: CPU threads of torch; None leaves torch's choice.
        workers: processes that read pictures; 0 reads in the training process.
        cache: "ram" keeps decoded pictures, resized to imgsz.
        channels_last: memory layout of pictures and weights.
        augment: strengths of augmentation.
        qat: fine-tune trained weights for INT8 files (:mod:`ghostyolo.train.detection.qat`), with defaults of its own:
            3 epochs, AdamW at 1e-4, no warm-up, no mosaic, a step for each batch.
        teacher: a trained detector to learn from beside the labels: a ``.safetensors`` file, a built-in name or
            ``hf://owner/repo/file``; None: labels alone.
        distil: what is learned from the teacher, and how strongly, see :class:`DistilConfig`; text such as
            ``"logits,boxes"`` or ``"logits=1,features=0.5,tau=4"`` is read as well.
        join_classes: of several data sets, classes of one name are one class; else each set has its own.
        set_temperature: T of the sampling between several data sets: each takes part by size^(1/T), so 1 shows every
            picture once an epoch, and the more the small sets as often as the large.
        plots: draw result pictures at the end.
        tensorboard: write TensorBoard logs.
    """

    imgsz: int = Field(640, ge=32)
    nominal_batch: int | None = Field(None, ge=1)
    optimizer: Literal["auto", "sgd", "adamw"] = "auto"
    lr: float | None = Field(None, gt=0)
    final_lr: float = Field(0.01, gt=0, le=1)
    momentum: float | None = Field(None, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    warmup_epochs: float = Field(3.0, ge=0)
    warmup_momentum: float = Field(0.8, ge=0, lt=1)
    warmup_bias_lr: float | None = Field(None, ge=0)
    close_mosaic: int | None = Field(None, ge=0)
    augment: AugmentConfig = Field(default_factory=lambda: AugmentConfig.model_validate({}))
    qat: bool = False
    teacher: str | None = None
    distil: DistilConfig = Field(default_factory=lambda: DistilConfig.model_validate({}))
    join_classes: bool = False
    set_temperature: float = Field(1.0, ge=1)
    plots: bool = True

    @model_validator(mode="after")
    def _distils_from_somebody(self) -> TrainRecipe:
        if self.teacher is None and self.distil != DistilConfig.model_validate({}):
            raise ValueError("distil says what to learn from a teacher, and there is none: give --teacher FILE")
        return self


def read_recipe_file(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of recipe keys; validation is :meth:`TrainRecipe.from_dict`'s.

    Raises:
        ConfigError: missing, not YAML, or not a mapping.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"the recipe {path} is not YAML: {str(error).splitlines()[0]}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"the recipe {path} must be 'key: value' lines, not {type(values).__name__}")
    return {str(key): as_number(value) for key, value in values.items()}


def as_number(value: Any) -> Any:
    """A value of a YAML file in which 1e-3 is a number, as everywhere but in YAML 1.1."""
    if isinstance(value, dict):
        return {key: as_number(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_number(inner) for inner in value]
    if isinstance(value, str) and _FLOAT_TEXT.fullmatch(value):
        return float(value)
    return value


def _first_error(error: ValidationError, recipe: type[BaseModel]) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        holder = recipe
        for part in place[:-1]:
            inner = holder.model_fields[part].annotation
            holder = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else holder
        return f"unknown key '{key}': {suggest(place[-1], holder.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not key:  # of the whole, not of one key
        return message
    return f"'{key}' is {first['input']!r}: {message}"

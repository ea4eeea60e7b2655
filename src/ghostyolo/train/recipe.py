"""The settings of a training, each by its one name. No torch.

The names are those of YAML, Python and ``--set``.

The defaults of a detector are those customary for YOLO detectors trained from scratch (the published recipes), those of
a classifier an ordinary ImageNet training.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from ghostyolo.config import Options, StrictModel, parse_yaml, read_yaml
from ghostyolo.data.augment.config import AugmentConfig, ClassAugment
from ghostyolo.data.balance import SamplingConfig
from ghostyolo.errors import ConfigError, suggest
from ghostyolo.train.distil.config import DistilConfig

# They say where and how fast, not what is learned: a run may be resumed with others.
RESUMABLE_WITH_OTHER = frozenset(
    {"device", "workers", "cache", "threads", "plots", "tensorboard", "val_batch", "teacher_cache", "plan"}
)
# What they make stands in the network's declaration, by which runs are compared too.
OF_THE_NETWORK = ("branches", "pointwise_branch")

R = TypeVar("R", bound="Recipe")
Place = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, PurePath) else value)]


class Recipe(StrictModel):
    """What detectors and classifiers have in common."""

    epochs: int = Field(100, ge=1, description="passes over the training split")
    imgsz: int = Field(640, ge=8, description="side of the square training pictures in pixels")
    batch: int = Field(16, ge=1, description="pictures in one step of one device")
    channels: int = Field(3, ge=1, description="of the pictures: 3, 1 (grey) or more")
    branches: int | None = Field(
        None, ge=1, description="re-parameterized branches of each convolution; none: the network's own number"
    )
    pointwise_branch: bool | None = Field(
        None, description="a 1x1 branch beside those of larger kernels; none: as the network has it (yes)"
    )
    ema_decay: float = Field(
        0.9999, ge=0, lt=1, description="of the averaged weights, which are validated and saved; 0 switches it off"
    )
    ema_ramp: float | None = Field(
        None,
        gt=0,
        description="the decay grows as 1 - exp(-updates / ema_ramp); none: so that in the end the average covers "
        "about the last tenth of the optimiser steps, at most 2000",
    )
    gradient_clip: float = Field(
        10.0, ge=0, description="largest norm of all gradients together; 0 switches clipping off"
    )
    patience: int = Field(100, ge=0, description="stop after so many epochs without a better score; 0 switches it off")
    val_every: int = Field(1, ge=1, description="validate every so many epochs, and after the last")
    val_batch: int = Field(16, ge=1, description="pictures in one step of validation")
    seed: int = Field(
        0,
        ge=0,
        description="of weights, order, augmentation and dropout; same seed and threads, same result on one machine",
    )
    precision: Annotated[
        Literal["32", "16", "bf16"],
        BeforeValidator(lambda value: str(value) if type(value) is int else value),  # YAML reads 16 as a number
    ] = Field("32", description="32, 16 or bf16 (the last two mixed)")
    deterministic: bool = Field(
        True, description="on CUDA, only algorithms that give the same result each time (the CPU's always do)"
    )
    device: str = Field("auto", description="where to train: auto, cpu, cuda or cuda:N")
    devices: int = Field(1, ge=1, description="devices of each machine that train together, by DDP")
    num_nodes: int = Field(1, ge=1, description="machines that train together")
    sync_batchnorm: bool = Field(False, description="batch norms see the pictures of all devices")
    threads: int | None = Field(None, ge=1, description="CPU threads; none: the cores that nothing else keeps busy")
    workers: int = Field(0, ge=0, description="processes that read pictures; 0: the training process")
    cache: Literal["ram", "none"] = Field("ram", description="ram keeps decoded pictures, none reads them anew")
    channels_last: bool = Field(False, description="memory layout of pictures and weights, often the faster one")
    tensorboard: bool = Field(True, description="write TensorBoard logs")

    shipped: ClassVar[str | None] = None
    """Folder of the package with recipes that have a name."""

    def difference(self, other: Recipe) -> tuple[str, Any, Any] | None:
        """Find the first key that changes what is learned.

        Returns it and both its values, or None.

        Args:
            other: the recipe of a run; one begun before a key of the network stood in recipes has no word on it.
        """
        for key in type(self).model_fields:
            mine, theirs = getattr(self, key), getattr(other, key)
            unsaid = key in OF_THE_NETWORK and key not in other.model_fields_set
            if key in RESUMABLE_WITH_OTHER or unsaid or mine == theirs:
                continue
            if isinstance(mine, BaseModel):
                for inner in type(mine).model_fields:
                    if getattr(mine, inner) != getattr(theirs, inner):
                        return f"{key}.{inner}", getattr(mine, inner), getattr(theirs, inner)
            return key, mine, theirs
        return None

    @classmethod
    def named(cls) -> dict[str, str]:
        """The recipes that come with the package: name to YAML text."""
        if cls.shipped is None:
            return {}
        files = sorted((resources.files("ghostyolo.train") / cls.shipped).iterdir(), key=lambda file: file.name)
        return {
            file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
            for file in files
            if file.name.endswith(".yaml")
        }

    @classmethod
    def read(cls, recipe: str | Path | None) -> Options:
        """Read a recipe by its name in the package or its YAML file.

        Raises:
            ConfigError: neither a name nor a file that can be read.
        """
        if recipe is None:
            return {}
        name, named = str(recipe), cls.named()
        if name in named:
            values: Options = parse_yaml(named[name])
            return values
        if named and not name.endswith((".yaml", ".yml")):
            raise ConfigError(f"unknown recipe '{name}': {suggest(name, named)}, or a .yaml file")
        return read_yaml(name, "recipe")


class TrainRecipe(Recipe):
    """One training run of a detector."""

    plan: bool = Field(
        True,
        description="choose what is not given by what data and machine are like (docs/train.md); false: the defaults "
        "here",
    )
    minutes: float | None = Field(
        None,
        gt=0,
        description="train about so long: as many epochs as have room, by the time that first steps take; none: epochs "
        "say it",
    )
    target_ms: float | None = Field(
        None,
        gt=0,
        description="milliseconds that a picture may take on this machine's CPU, from pixels to boxes: the plan takes "
        "the largest ghostyolo that does; none: ghostyolo-n",
    )
    probe: bool = Field(
        False,
        description="before the run, settle by short trainings what data do not tell (range of scales, rate), in a "
        "quarter of its time",
    )
    imgsz: int = Field(
        640, ge=32, description="side of the square training pictures in pixels, a multiple of the network's stride"
    )
    nominal_batch: int | None = Field(
        None,
        ge=1,
        description="gradients are accumulated until all devices together saw about so many pictures; none: up to 64, "
        "but no more than leaves the run 5000 optimiser steps",
    )
    optimizer: Literal["auto", "sgd", "adamw"] = Field(
        "auto",
        description="auto, sgd or adamw; auto is AdamW up to 10000 optimiser steps, with lr 0.006 x 5 / (4 + classes) "
        "where classes are new and a third of it from weights that know all of them, else SGD",
    )
    lr: float | None = Field(
        None, gt=0, description="peak learning rate; none: auto's rule, 0.01 for SGD, 0.001 for AdamW"
    )
    final_lr: float = Field(
        0.01, gt=0, le=1, description="last learning rate as a fraction of the peak; cosine in between"
    )
    momentum: float | None = Field(
        None, ge=0, lt=1, description="of SGD (Nesterov), beta1 of AdamW; none: 0.937 for SGD, 0.9 for AdamW"
    )
    weight_decay: float = Field(
        5e-4, ge=0, description="on weights of two or more dimensions, none on batch norms and biases"
    )
    warmup_epochs: float = Field(
        3.0, ge=0, description="the learning rate rises linearly, at least 100 steps, at most a third of the run"
    )
    warmup_momentum: float = Field(0.8, ge=0, lt=1, description="SGD's momentum at the first step")
    warmup_bias_lr: float | None = Field(
        None, ge=0, description="learning rate of biases at the first step; none: 0.1 for SGD, 0 for AdamW"
    )
    close_mosaic: int | None = Field(
        None, ge=0, description="no mosaic in the last so many epochs; none: a sixth of them, at most 10"
    )
    augment: AugmentConfig = Field(
        default_factory=lambda: AugmentConfig.model_validate({}), description="strengths of augmentation"
    )
    sampling: SamplingConfig = Field(
        default_factory=lambda: SamplingConfig.model_validate({}), description="what is done for rare classes"
    )
    weights: Annotated[Place | None, BeforeValidator(lambda value: None if value == "none" else value)] = Field(
        None,
        description="begin from these: a built-in or published name, a .safetensors file or hf://owner/repo/file; what "
        "does not fit, such as other classes, starts anew; none: random ones; left out: the network's start weights, "
        "if it has them",
    )
    backbone_weights: Place | None = Field(
        None, description="pretrained backbone: a Hugging Face name such as timm/ghostnetv3_100.in1k, or a file"
    )
    qat: bool = Field(
        False,
        description="fine-tune weights for INT8 files, with defaults of its own: 3 epochs, AdamW at 1e-4, no warm-up, "
        "no mosaic, a step for each batch",
    )
    teacher: Place | None = Field(
        None,
        description="learn from a trained detector beside the labels: a .safetensors file, a built-in name or "
        "hf://owner/repo/file",
    )
    distil: DistilConfig = Field(
        default_factory=lambda: DistilConfig.model_validate({}),
        description="what is learned from the teacher, and how strongly: logits,boxes or logits=1,features=0.5,tau=4",
    )
    join_classes: bool = Field(
        False, description="of several data sets, classes of one name are one class; else each set has its own"
    )
    set_temperature: float = Field(
        1.0,
        ge=1,
        description="T of the sampling between several data sets: each takes part by size^(1/T); 1 shows every picture "
        "once an epoch",
    )
    plots: bool = Field(True, description="draw result pictures at the end")

    @model_validator(mode="after")
    def _distils_from_somebody(self) -> TrainRecipe:
        if self.teacher is None and self.distil != DistilConfig.model_validate({}):
            raise ValueError("distil says what to learn from a teacher, and there is none: give --teacher FILE")
        return self


class ClassRecipe(Recipe):
    """One training run of a classifier."""

    shipped = "classification/recipes"

    imgsz: int = Field(224, ge=8, description="side of the square training pictures in pixels")
    batch: int = Field(256, ge=1, description="pictures in one step of one device")
    nominal_batch: int | None = Field(
        None,
        ge=1,
        description="gradients are accumulated until all devices together saw about so many pictures; none: a step for "
        "each batch",
    )
    optimizer: str = Field("adamw", description="any of timm's, such as lamb, adamw, sgd (Nesterov)")
    lr: float = Field(1e-3, gt=0, description="peak learning rate of an optimiser step over nominal_batch pictures")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD and its like")
    weight_decay: float = Field(0.05, ge=0, description="none on batch norms and biases")
    schedule: Literal["cosine", "step"] = Field(
        "cosine", description="cosine to final_lr of the peak; step: times decay_rate every decay_epochs"
    )
    final_lr: float = Field(0.0, ge=0, le=1, description="cosine: last learning rate as a fraction of the peak")
    decay_rate: float = Field(0.97, gt=0, le=1, description="step: factor of each fall")
    decay_epochs: float = Field(2.4, gt=0, description="step: epochs between two falls")
    warmup_epochs: float = Field(5.0, ge=0, description="the learning rate rises linearly from warmup_lr")
    warmup_lr: float = Field(1e-6, ge=0, description="learning rate at the first step")
    gradient_clip: float = Field(
        0.0, ge=0, description="largest norm of all gradients together; 0 switches clipping off"
    )
    labels: bool = Field(
        True,
        description="false: the pictures have none, or theirs are not used: the backbone learns the features of the "
        "teacher, any network of timm's, or without one that two views of a picture are alike",
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of each target that is spread over all classes")
    teacher: Place | None = Field(
        None, description="learn from it beside the labels: a .safetensors classifier, or a network of timm's by name"
    )
    teacher_weights: Place | None = Field(
        None, description="weights file of a teacher of timm's; none: its pretrained ones"
    )
    teacher_imgsz: int | None = Field(
        None, ge=8, description="pictures are resized to this side for the teacher; none: it sees what the student sees"
    )
    teacher_cache: Place | None = Field(None, description="folder to keep the teacher's logits in; none: nowhere")
    alpha: float = Field(0.5, ge=0, le=1, description="share of the teacher in the loss, 0 to 1")
    tau: float = Field(1.0, gt=0, description="temperature of both distributions, above 0")
    output_stride: Literal[8, 16, 32] = Field(
        32, description="32 as published; 16: the first layer keeps the picture's size; 8: so does the next halving"
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="before the last layer; none: the network's own")
    val_crop: float = Field(0.875, gt=0, le=1, description="share of the shorter side that is validated on")
    val_share: float = Field(
        0.1, ge=0, lt=1, description="of the training pictures, held out where the data has no validation split"
    )
    val_batch: int = Field(256, ge=1, description="pictures in one step of validation")
    patience: int = Field(0, ge=0, description="stop after so many epochs without a better top-1; 0: never")
    limit: int | None = Field(
        None, ge=2, description="train on at most so many pictures, evenly of all classes; none: on all"
    )
    label_column: str | None = Field(None, description="of Parquet files, where it has no usual name")
    cache: Literal["ram", "none"] = Field("none", description="ram keeps decoded pictures, none reads them anew")
    augment: ClassAugment = Field(
        default_factory=lambda: ClassAugment.model_validate({}), description="strengths of augmentation"
    )


def given_options(options: Mapping[str, Any] | None) -> Options:
    """Options by name without those that are None, which means "as by default"."""
    return {key: value for key, value in (options or {}).items() if value is not None}

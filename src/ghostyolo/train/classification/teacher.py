"""The network that a classifier learns from.

It is frozen, in evaluation, and in the precision of its weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.errors import ConfigError, WeightsError, short_list
from ghostyolo.models.backbones.libraries import timm_network
from ghostyolo.models.pickles import read_published
from ghostyolo.models.weights import load_classifier
from ghostyolo.nn.reparam import fold
from ghostyolo.train.recipe import ClassRecipe
from ghostyolo.train.run_folder import file_digest


@dataclass
class Teacher:
    """A frozen network that gives logits for a batch.

    It is no module, so that neither DDP nor a checkpoint takes it for a part of the student.

    Attributes:
        net: frozen.
        mean, std: (1, C, 1, 1), taken out of the pictures before.
        imgsz: pictures are resized to this side; None: as they come.
    """

    net: nn.Module
    mean: Tensor
    std: Tensor
    imgsz: int | None

    def to(self, device: torch.device) -> None:
        """Move it."""
        self.net.to(device)
        self.mean, self.std = self.mean.to(device), self.std.to(device)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Give logits (B, classes) float32 for pictures of 0 to 1.

        Pictures are (B, C, H, W); the student's mixed precision does not apply.
        """
        with torch.autocast(images.device.type, enabled=False):
            x = images.float()
            if self.imgsz is not None and x.shape[2:] != (self.imgsz, self.imgsz):
                x = F.interpolate(x, (self.imgsz, self.imgsz), mode="bilinear", antialias=True)
            logits: Tensor = self.net(((x - self.mean) / self.std).to(_precision(self.net)))
            return logits.float()


def build_teacher(recipe: ClassRecipe, class_names: list[str], channels: int) -> Teacher:
    """The teacher that a recipe names.

    Raises:
        ConfigError: an unknown name, other classes or channels than the data's, or a size that it cannot take.
        WeightsError: weights that are missing, damaged or of another network.
    """
    source = str(recipe.teacher)
    teacher = _ours(recipe, class_names, channels) if source.endswith(".safetensors") else _of_timm(recipe, channels)
    teacher.net.eval().requires_grad_(False)
    side = recipe.teacher_imgsz or recipe.imgsz
    try:
        given = teacher.logits(torch.zeros(2, channels, recipe.imgsz, recipe.imgsz)).shape
    except Exception as error:  # whatever a network raises for pictures that it cannot take
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"teacher '{source}' cannot take pictures of {side} x {side} with {channels} channels ({reason}): give the "
            "size that it takes as teacher_imgsz"
        ) from error
    if given != (2, len(class_names)):
        raise ConfigError(
            f"teacher '{source}' has {given[-1]} classes, the data {len(class_names)}: choose one that was trained on "
            "these classes, or give its weights as teacher_weights"
        )
    return teacher


def teacher_digest(recipe: ClassRecipe) -> str | None:
    """Name the teacher, and hash its file where it has one.

    None without a teacher.
    """
    if recipe.teacher is None:
        return None
    ours = recipe.teacher.endswith(".safetensors")
    file = recipe.teacher if ours else recipe.teacher_weights
    if file is None:
        return recipe.teacher
    if not Path(file).is_file():
        raise WeightsError(f"teacher weights {file} do not exist")
    return f"{Path(file).name if ours else recipe.teacher} {file_digest(file)}"


def _ours(recipe: ClassRecipe, class_names: list[str], channels: int) -> Teacher:
    net, metadata = load_classifier(str(recipe.teacher))
    if metadata.class_names != class_names:
        raise ConfigError(
            f"teacher {recipe.teacher} has classes {short_list(metadata.class_names)}, the data "
            f"{short_list(class_names)}"
        )
    if metadata.in_channels != channels:
        raise ConfigError(f"teacher {recipe.teacher} takes {metadata.in_channels} channels, the data has {channels}")
    # It normalises inside.
    return Teacher(fold(net), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), recipe.teacher_imgsz)


def _of_timm(recipe: ClassRecipe, channels: int) -> Teacher:
    name = str(recipe.teacher).removeprefix("timm:")
    net: Any
    if recipe.teacher_weights is None:
        try:
            net = timm_network(name, True, channels)
        except WeightsError as error:
            raise WeightsError(
                f"no pretrained weights for the teacher '{name}' can be had ({error.__cause__}): check the connection, "
                "or give its weights file as teacher_weights".replace("\n", " ")
            ) from error
    else:
        tensors = read_published(recipe.teacher_weights).tensors
        net = timm_network(name, False, channels, num_classes=_classes_of(name, tensors))
        try:
            net.load_state_dict(tensors)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise WeightsError(f"{recipe.teacher_weights} is not of '{name}': {reason[:200]}") from error
        floats = [tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()]
        net.to(max(set(floats), key=floats.count))
    config = net.pretrained_cfg
    mean, std = (torch.tensor(config.get(key) or (default,)).view(1, -1, 1, 1) for key, default in (
        ("mean", 0.0), ("std", 1.0)
    ))  # fmt: skip
    if channels not in (1, mean.shape[1]) or (channels == 1 and mean.shape[1] != 1):
        mean, std = mean.mean(1, keepdim=True), std.mean(1, keepdim=True)
    return Teacher(net, mean, std, recipe.teacher_imgsz)


def _classes_of(name: str, tensors: dict[str, Tensor]) -> int:
    """How many classes the last layer in a weights file has; the name of that layer is in timm's own description."""
    net: Any
    with torch.device("meta"):
        net = timm_network(name, False, 3)
    layer = net.pretrained_cfg.get("classifier")
    layer = layer[0] if isinstance(layer, tuple | list) else layer
    weight = tensors.get(f"{layer}.weight")
    if weight is None:
        raise WeightsError(f"the teacher's weights are not of '{name}': they have no '{layer}.weight'")
    return len(weight)


def _precision(net: nn.Module) -> torch.dtype:
    return next(parameter.dtype for parameter in net.parameters())

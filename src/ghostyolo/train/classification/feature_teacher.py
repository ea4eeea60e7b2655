"""A network whose feature maps are learned from pictures without labels.

Any network of timm's will do, DINOv2 (arXiv 2304.07193) and DINOv3 (2508.10104) among them, and any classifier that
``pretrain`` wrote. It is frozen and in evaluation.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.models.backbones.libraries import timm_network
from ghostyolo.models.pickles import read_published
from ghostyolo.models.weights import load_classifier
from ghostyolo.nn.reparam import fold
from ghostyolo.train.recipe import ClassRecipe


class FeatureTeacher:
    """Gives the last feature map of pictures.

    It is no module, so that neither DDP nor a checkpoint takes it for a part of the student.

    Args:
        net: has ``forward_features``.
        mean, std: (1, C, 1, 1), taken out of the pictures before.
        imgsz: pictures are resized to this side; None: as they come.

    Attributes:
        channels: of its map.
    """

    def __init__(self, net: Any, mean: Tensor, std: Tensor, imgsz: int | None) -> None:
        self.net, self.mean, self.std, self.imgsz = net.eval().requires_grad_(False), mean, std, imgsz
        self.channels = 0

    def to(self, device: torch.device) -> None:
        """Move it."""
        self.net.to(device)
        self.mean, self.std = self.mean.to(device), self.std.to(device)

    @torch.no_grad()
    def look(self, images: Tensor) -> Tensor:
        """Give the map (B, channels, h, w) of pictures.

        They are (B, C, H, W) of 0 to 1.
        """
        with torch.autocast(images.device.type, enabled=False):
            x = images.float()
            if self.imgsz is not None and x.shape[2:] != (self.imgsz, self.imgsz):
                x = F.interpolate(x, (self.imgsz, self.imgsz), mode="bilinear", antialias=True)
            return _as_map(self.net, self.net.forward_features((x - self.mean) / self.std)).float()


def build_feature_teacher(recipe: ClassRecipe, channels: int) -> FeatureTeacher:
    """The teacher that a recipe names.

    Raises:
        ConfigError: an unknown name, or pictures that it cannot take.
        WeightsError: weights that are missing, damaged or of another network.
    """
    source = str(recipe.teacher)
    side = recipe.teacher_imgsz or recipe.imgsz
    if source.endswith(".safetensors"):
        net, metadata = load_classifier(source)
        if metadata.in_channels != channels:
            raise ConfigError(f"teacher {source} takes {metadata.in_channels} channels, the pictures have {channels}")
        zero, one = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
        mean, std = (net.mean, net.std) if net.normalise else (zero, one)
        teacher = FeatureTeacher(fold(net), mean, std, recipe.teacher_imgsz)
    else:
        teacher = _of_timm(source.removeprefix("timm:"), recipe, channels, side)
    try:
        teacher.channels = teacher.look(torch.zeros(2, channels, recipe.imgsz, recipe.imgsz)).shape[1]
    except ConfigError:
        raise
    except Exception as error:  # whatever a network raises for pictures that it cannot take
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"teacher '{source}' cannot take pictures of {side} x {side} ({reason}): give the size that it takes as "
            "teacher_imgsz"
        ) from error
    return teacher


def _of_timm(name: str, recipe: ClassRecipe, channels: int, side: int) -> FeatureTeacher:
    pretrained = recipe.teacher_weights is None
    net: Any
    try:
        net = timm_network(name, pretrained, channels, 0, img_size=side)
    except WeightsError as error:
        raise WeightsError(
            f"no pretrained weights for the teacher '{name}' can be had ({error.__cause__}): check the connection, or "
            "give its weights file as teacher_weights"
        ) from error
    except Exception:  # only networks of one size have such an option
        net = timm_network(name, pretrained, channels, 0)
    if recipe.teacher_weights is not None:
        tensors = read_published(recipe.teacher_weights).tensors
        missing, _ = net.load_state_dict(_fitting(net, tensors), strict=False)
        if missing:
            raise WeightsError(f"{recipe.teacher_weights} is not of '{name}': it has nothing for '{missing[0]}'")
    config = net.pretrained_cfg
    mean, std = (torch.tensor(config.get(key) or (default,)).view(1, -1, 1, 1) for key, default in (
        ("mean", 0.0), ("std", 1.0)
    ))  # fmt: skip
    if mean.shape[1] not in (1, channels):
        mean, std = mean.mean(1, keepdim=True), std.mean(1, keepdim=True)
    return FeatureTeacher(net, mean, std, recipe.teacher_imgsz)


def _fitting(net: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file as the network takes them: its own filter resizes positions, where it has one."""
    module = __import__(type(net).__module__, fromlist=["checkpoint_filter_fn"])
    fit = getattr(module, "checkpoint_filter_fn", None)
    tensors = fit(dict(tensors), net) if fit is not None else tensors
    state = net.state_dict()
    return {name: tensor for name, tensor in tensors.items() if name in state and state[name].shape == tensor.shape}


def _as_map(net: Any, features: Tensor) -> Tensor:
    """Features as (B, C, h, w): tokens without those before the patches, or channels that stand last."""
    if features.ndim == 3:
        patches = features[:, getattr(net, "num_prefix_tokens", 0) :]
        side = round(patches.shape[1] ** 0.5)
        if side * side != patches.shape[1]:
            raise ConfigError(f"a teacher of {patches.shape[1]} tokens has no map of equal sides: choose another one")
        return patches.transpose(1, 2).unflatten(2, (side, side))
    if features.ndim != 4:
        raise ConfigError("the teacher gives no feature map: choose another one")
    width = getattr(net, "num_features", features.shape[1])
    return features.permute(0, 3, 1, 2) if features.shape[1] != width == features.shape[3] else features

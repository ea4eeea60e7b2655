"""Augmentation of single pictures for classification: timm's and torchvision's, in a fixed order.

Crop, mirror, RandAugment, colour, random erasing. What a picture becomes depends on the random state of ``random``,
``numpy`` and ``torch`` alone, which the data set sets for each picture and epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL.Image import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torchvision import transforms as tv

from ghostyolo.data.augment.config import ClassAugment
from ghostyolo.errors import ConfigError

Transform = Callable[[Image], Tensor]

# timm's erasing fills with normal noise for pictures of mean 0 and deviation 1; ours are 0 to 1 at that point.
_MEAN, _STD = 0.45, 0.225
_GREY = 114


def training_transform(augment: ClassAugment, imgsz: int) -> Transform:
    """Return the transform of a PIL picture to (C, imgsz, imgsz).

    It gives uint8, or float in the scale of 0 to 1 where it may be erased.

    Raises:
        ConfigError: a description of RandAugment that timm does not know.
    """
    parts: list[Any] = []
    if augment.crop == "resized":
        parts.append(RandomResizedCropAndInterpolation(imgsz, scale=(augment.min_area, 1.0), interpolation="bilinear"))
    else:
        parts += [_fit(imgsz), tv.RandomCrop(imgsz, augment.padding)]
    if augment.fliplr:
        parts.append(tv.RandomHorizontalFlip(augment.fliplr))
    if augment.randaugment:
        parts.append(_randaugment(augment.randaugment, imgsz))
    if augment.color_jitter:
        parts.append(tv.ColorJitter(*[augment.color_jitter] * 3))
    parts.append(tv.PILToTensor())
    if augment.erase:
        parts.append(_Erase(augment.erase))
    return tv.Compose(parts)


def validation_transform(imgsz: int, crop: float) -> Transform:
    """PIL picture to (C, imgsz, imgsz) uint8: the middle of it.

    Args:
        crop: share of the shorter side that is kept.
    """
    return tv.Compose([_fit(round(imgsz / crop)), tv.CenterCrop(imgsz), tv.PILToTensor()])


def _fit(side: int) -> Any:
    """Bring the shorter side to ``side`` and cut the longer one in the middle."""
    return tv.Compose([tv.Resize(side, tv.InterpolationMode.BILINEAR), tv.CenterCrop(side)])


def _randaugment(description: str, imgsz: int) -> Any:
    options = {"translate_const": int(imgsz * 0.45), "img_mean": (_GREY, _GREY, _GREY)}
    try:
        transform = rand_augment_transform(description, options)
    except (AssertionError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"'randaugment' is '{description}', which timm does not take: write it like rand-m9-mstd0.5-inc1"
        ) from error
    for operation in transform.ops:
        if operation.name.startswith("Posterize"):
            operation.level_fn = _at_least_one_bit(operation.level_fn)
    return transform


def _at_least_one_bit(bits_of: Callable[..., tuple[int]]) -> Callable[..., tuple[int]]:
    """timm's strongest posterizing keeps no bit at all, which Pillow refuses from version 13 on."""
    return lambda level, options: (max(1, bits_of(level, options)[0]),)


class _Erase:
    def __init__(self, probability: float) -> None:
        self.erase = RandomErasing(probability, mode="pixel", device="cpu")

    def __call__(self, pixels: Tensor) -> Tensor:
        normalised: Tensor = self.erase((pixels.to(torch.float32) / 255 - _MEAN) / _STD)
        return (normalised * _STD + _MEAN).clamp_(0, 1)

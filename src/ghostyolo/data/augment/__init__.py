"""Batched augmentation for detection: mosaic, affine, flips, HSV jitter and mixup as tensors."""

from ghostyolo.data.augment.batch import BatchAugment
from ghostyolo.data.augment.config import AugmentConfig

__all__ = ["AugmentConfig", "BatchAugment"]

"""What augmentation does and how strongly, for detectors and for classifiers. No torch.

The defaults for detectors are customary for YOLO from scratch.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ghostyolo.config import StrictModel


class AugmentConfig(StrictModel):
    """Strengths and probabilities for detectors; every 0 switches its part off."""

    mosaic: float = Field(
        1.0,
        ge=0,
        le=1,
        description="probability that a picture becomes a mosaic of itself and three others of its batch",
    )
    degrees: float = Field(0.0, ge=0, le=180, description="rotation in degrees, plus or minus")
    translate: float = Field(0.1, ge=0, le=0.9, description="shift as a fraction of the side, plus or minus")
    scale: float = Field(0.5, ge=0, le=0.95, description="zoom from 1 - scale to 1 + scale")
    shear: float = Field(0.0, ge=0, le=45, description="shear of each axis in degrees, plus or minus")
    fliplr: float = Field(0.5, ge=0, le=1, description="probability of a left-right mirror image")
    flipud: float = Field(0.0, ge=0, le=1, description="probability of an up-down mirror image")
    hsv_h: float = Field(0.015, ge=0, le=0.5, description="hue shift as a fraction of a full turn, plus or minus")
    hsv_s: float = Field(0.7, ge=0, le=1, description="saturation is multiplied by 1 - hsv_s to 1 + hsv_s")
    hsv_v: float = Field(0.4, ge=0, le=1, description="value is multiplied by 1 - hsv_v to 1 + hsv_v")
    mixup: float = Field(
        0.0, ge=0, le=1, description="probability that a picture is blended with another one of its batch"
    )


class ClassAugment(StrictModel):
    """Strengths and probabilities for classifiers; every 0 or empty text switches its part off."""

    crop: Literal["resized", "padded"] = Field(
        "resized",
        description="resized: a random part of the picture, brought to size; padded: the picture brought to size, "
        "padded and cropped",
    )
    min_area: float = Field(0.08, gt=0, le=1, description="smallest resized crop, as a share of the picture")
    padding: int = Field(4, ge=0, description="pixels around padded crops")
    fliplr: float = Field(0.5, ge=0, le=1, description="probability of a mirror image")
    randaugment: str = Field("", description="timm's description, such as rand-m9-mstd0.5-inc1")
    color_jitter: float | None = Field(
        None, ge=0, description="of brightness, contrast and saturation; none: 0, and 0.4 where views are compared"
    )
    erase: float = Field(0.0, ge=0, le=1, description="probability of random erasing with noise")
    mixup: float = Field(0.0, ge=0, description="number of Mixup's beta distribution")
    cutmix: float = Field(
        0.0, ge=0, description="number of CutMix's beta distribution; with both on, one is chosen for each batch"
    )
    mix_prob: float = Field(1.0, ge=0, le=1, description="probability that a batch is mixed at all")

    @property
    def mixes(self) -> bool:
        """Whether pictures of a batch are mixed with each other."""
        return self.mix_prob > 0 and (self.mixup > 0 or self.cutmix > 0)

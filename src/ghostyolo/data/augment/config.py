"""What augmentation does and how strongly. The defaults are customary for YOLO from scratch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AugmentConfig(BaseModel):
    """Strengths and probabilities; every 0 switches its part off.

    Attributes:
        mosaic: probability that a picture becomes a mosaic of itself and three others of its batch.
        degrees: rotation, drawn from -degrees..degrees.
        translate: shift, drawn from -translate..translate of the picture's side.
        scale: zoom, drawn from 1 - scale..1 + scale.
        shear: shear angle of each axis in degrees, drawn from -shear..shear.
        fliplr, flipud: probability of a mirror image, left-right and up-down.
        hsv_h: hue shift, drawn from -hsv_h..hsv_h of a full turn.
        hsv_s, hsv_v: saturation and value are multiplied by a factor from 1 - gain..1 + gain.
        mixup: probability that a picture is blended with another one of its batch.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    mosaic: float = Field(1.0, ge=0, le=1, description="probability of a mosaic of four pictures, 0..1")
    degrees: float = Field(0.0, ge=0, le=180, description="rotation in degrees, +-, 0..180")
    translate: float = Field(0.1, ge=0, le=0.9, description="shift as a fraction of the side, +-, 0..0.9")
    scale: float = Field(0.5, ge=0, le=0.95, description="zoom 1 - scale..1 + scale, 0..0.95")
    shear: float = Field(0.0, ge=0, le=45, description="shear in degrees, +-, 0..45")
    fliplr: float = Field(0.5, ge=0, le=1, description="probability of a left-right flip, 0..1")
    flipud: float = Field(0.0, ge=0, le=1, description="probability of an up-down flip, 0..1")
    hsv_h: float = Field(0.015, ge=0, le=0.5, description="hue shift as a fraction of a turn, +-, 0..0.5")
    hsv_s: float = Field(0.7, ge=0, le=1, description="saturation gain 1 - s..1 + s, 0..1")
    hsv_v: float = Field(0.4, ge=0, le=1, description="value gain 1 - v..1 + v, 0..1")
    mixup: float = Field(0.0, ge=0, le=1, description="probability of blending two pictures, 0..1")

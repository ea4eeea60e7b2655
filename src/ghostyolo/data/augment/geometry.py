"""Random affine maps and what they do to boxes.

Coordinates are continuous: pixel i covers [i, i + 1] and its centre is i + 0.5, for pictures and boxes alike.
The canvas of a mosaic is 2S x 2S for an S x S output; its centre (S, S) is what the maps turn and zoom about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ghostyolo.data.augment.config import AugmentConfig

MIN_SIDE = 2.0  # pixels of the output; smaller remains teach nothing
MIN_VISIBLE = 0.1  # of a box's area
MAX_ASPECT = 100.0


@dataclass(frozen=True)
class Affine:
    """Maps from canvas to output pixels: ``output = matrix @ canvas + shift``.

    Attributes:
        matrix: (B, 2, 2) float32.
        shift: (B, 2) float32.
        axis_aligned: no map of the batch turns or shears, so x depends on x alone and y on y.
    """

    matrix: Tensor
    shift: Tensor
    axis_aligned: bool

    def inverse(self) -> Affine:
        """The maps from output to canvas pixels."""
        a, b, c, d = self.matrix.flatten(1).unbind(1)
        matrix = torch.stack([d, -b, -c, a], dim=1).view(-1, 2, 2) / (a * d - b * c)[:, None, None]
        return Affine(matrix, -(matrix @ self.shift[:, :, None])[:, :, 0], self.axis_aligned)

    def to(self, device: torch.device) -> Affine:
        return Affine(self.matrix.to(device), self.shift.to(device), self.axis_aligned)


def random_affine(count: int, config: AugmentConfig, imgsz: int, generator: torch.Generator) -> Affine:
    """Draw ``count`` random maps of a canvas to the output.

    Shear, turn and zoom about the canvas centre, move it near the output's, flip.
    """

    def between(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    angle = between(-1, 1) * math.radians(config.degrees)
    zoom = between(1 - config.scale, 1 + config.scale)
    shear_x = (between(-1, 1) * math.radians(config.shear)).tan()
    shear_y = (between(-1, 1) * math.radians(config.shear)).tan()
    target_x = between(0.5 - config.translate, 0.5 + config.translate) * imgsz
    target_y = between(0.5 - config.translate, 0.5 + config.translate) * imgsz
    mirror_x = 1 - 2 * (between(0, 1) < config.fliplr).float()
    mirror_y = 1 - 2 * (between(0, 1) < config.flipud).float()

    cosine, sine, one = angle.cos() * zoom, angle.sin() * zoom, torch.ones(count)
    turn = torch.stack([cosine, -sine, sine, cosine], dim=1).view(count, 2, 2)
    shear = torch.stack([one, shear_x, shear_y, one], dim=1).view(count, 2, 2)
    mirror = torch.stack([mirror_x, mirror_y], dim=1)
    matrix = mirror[:, :, None] * (turn @ shear)
    # A mirrored coordinate x becomes imgsz - x.
    target = torch.stack([target_x, target_y], dim=1) * mirror + (1 - mirror) / 2 * imgsz
    shift = target - matrix.sum(2) * imgsz
    return Affine(matrix, shift, axis_aligned=config.degrees == 0 and config.shear == 0)


def warp_boxes(boxes_xyxy: Tensor, affine: Affine, imgsz: int) -> tuple[Tensor, Tensor]:
    """Map boxes to the output.

    Warp four corners, take the box around them, cut it at the output's border.

    Args:
        boxes_xyxy: (B, M, 4) in canvas pixels.

    Returns:
        boxes_xyxy (B, M, 4) in output pixels within 0..imgsz, and (B, M) bool: True where enough of the box
        is left to be an object (side >= 2 px, >= 0.1 of its area in view, aspect <= 100); never for NaN.
    """
    corners = boxes_xyxy[..., [0, 1, 2, 1, 2, 3, 0, 3]].unflatten(-1, (4, 2))
    corners = (affine.matrix[:, None, None] @ corners[..., None])[..., 0] + affine.shift[:, None, None]
    low, high = corners.amin(2), corners.amax(2)
    whole = (high - low).prod(-1)
    low, high = low.clamp(0, imgsz), high.clamp(0, imgsz)
    side = high - low
    width, height = side.unbind(-1)
    keep = (
        (side.amin(-1) >= MIN_SIDE)
        & (width * height >= MIN_VISIBLE * whole)
        & (torch.maximum(width, height) <= MAX_ASPECT * torch.minimum(width, height))
    )
    return torch.cat([low, high], dim=-1), keep

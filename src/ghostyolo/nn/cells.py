"""The cells of feature maps, of which each is one anchor: those of the finest map first, each map row by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cell_centers(features: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Where the cells lie.

    Args:
        features: maps (B, C_i, H_i, W_i).
        strides: pixels per cell of each map.

    Returns:
        centers (A, 2) x, y in pixels and strides (A, 1) in pixels per cell, float32, A being the sum of H_i x W_i.
    """
    centers, sizes = [], []
    for feature, stride in zip(features, strides, strict=True):
        height, width = feature.shape[-2:]
        y = (torch.arange(height, device=feature.device, dtype=torch.float32) + 0.5) * stride
        x = (torch.arange(width, device=feature.device, dtype=torch.float32) + 0.5) * stride
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        centers.append(torch.stack((grid_x, grid_y), -1).reshape(-1, 2))
        sizes.append(torch.full_like(centers[-1][:, :1], stride))
    return torch.cat(centers), torch.cat(sizes)

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


def cells_between(low: Tensor, high: Tensor, centers: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of a box and a cell whose centre lies in the box or on its border.

    The cells of a map are a grid, so a box holds a block of rows and columns: nothing of size N x A is made.

    Args:
        low, high: (N, 2) left top and right bottom corners, pixels.
        centers, strides: (A, 2) and (A, 1) of all cells, as of :func:`cell_centers`.

    Returns:
        box (P,) and cell (P,) int64 of each pair, boxes in order and the cells of each in order.
    """
    counts = strides.flatten().unique_consecutive(return_counts=True)[1].tolist()
    device, levels = low.device, len(counts)
    blocks, begin = [], 0
    for count in counts:
        x, y = centers[begin : begin + count].to(low.dtype).unbind(1)
        rows = y.unique_consecutive()
        width = count // len(rows)
        row, column = (
            torch.searchsorted(values.contiguous(), low[:, axis].contiguous())
            for axis, values in ((1, rows), (0, x[:width]))
        )
        below, right = (
            torch.searchsorted(values.contiguous(), high[:, axis].contiguous(), right=True)
            for axis, values in ((1, rows), (0, x[:width]))
        )
        first = begin + row * width + column
        blocks.append(
            torch.stack(
                (
                    (below - row).clamp(min=0),
                    (right - column).clamp(min=0),
                    first,
                    row.new_tensor(width).expand_as(row),
                ),
                -1,
            )
        )
        begin += count
    # One row a box and map, in the order in which the cells come.
    height, across, first, width = torch.stack(blocks, 1).reshape(-1, 4).unbind(1)
    cells = height * across
    block = torch.arange(len(cells), device=device).repeat_interleave(cells)
    place = torch.arange(len(block), device=device) - (cells.cumsum(0) - cells)[block]
    row = place // across[block]
    return block // levels, first[block] + row * width[block] + place - row * across[block]

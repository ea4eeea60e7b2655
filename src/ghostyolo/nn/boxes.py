"""Box arithmetic of heads, and the cells that predict boxes.

Shapes: A anchors (cells), those of the finest map first, each map row by row. Distances are in the order left, top,
right, bottom; boxes are corners (x1, y1, x2, y2).

Distances (YOLOv8, YOLOv13): the expectation over the softmax of its bins. Source: Li et al., 2020, "Generalized Focal
Loss" (arXiv 2006.04388), section 3.2, equation 5.

Anchors (YOLOv5, YOLOv7): their published decoding.

Offsets (YOLOX, arXiv 2107.08430, section 2.1): from the cell's corner, sizes as logarithms, both in strides::

    x = (column + dx) stride        width = exp(dw) stride
    y = (row + dy) stride           height = exp(dh) stride

with x and y the middle of the box.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def expected_distance(box_logits: Tensor, bins: int) -> Tensor:
    """Expected left, top, right, bottom distance of each distribution, in strides.

    Args:
        box_logits: (..., 4 x bins); four groups of ``bins`` logits, bin i standing for i strides.
        bins: number of bins of each side.

    Returns:
        (..., 4), each between 0 and bins - 1, of the dtype of ``box_logits``; float32 under autocast.
    """
    if not box_logits.is_meta and torch.is_autocast_enabled(box_logits.device.type):
        # autocast would round the product to bfloat16's 8 bits: boxes a pixel off at stride 32.
        positions = torch.arange(bins, device=box_logits.device, dtype=torch.float32)
        return (box_logits.float().unflatten(-1, (4, bins)).softmax(-1) * positions).sum(-1)
    # A column, not a vector: ONNX Runtime on a CPU is 7 times faster at a product with a matrix, and torch
    # is 4 times faster at a product than at a sum over 16 values.
    positions = torch.arange(bins, device=box_logits.device, dtype=box_logits.dtype).unsqueeze(1)
    return box_logits.unflatten(-1, (4, bins)).softmax(-1).matmul(positions).squeeze(-1)


def decode_ltrb(centers: Tensor, distances: Tensor) -> Tensor:
    """Corners of the boxes that lie at these distances around their centres.

    Args:
        centers: (A, 2) cell centres (x, y), pixels; or any shape that broadcasts with (..., A, 2).
        distances: (..., A, 4) left, top, right, bottom, in pixels.

    Returns:
        (..., A, 4) boxes_xyxy in pixels.
    """
    left_top, right_bottom = distances.chunk(2, -1)
    return torch.cat((centers - left_top, centers + right_bottom), -1)


def decode_distances(centers: Tensor, distances: Tensor, strides: Tensor) -> Tensor:
    """As `decode_ltrb`, with distances in strides.

    Args:
        centers: (A, 2) cell centres (x, y), pixels.
        distances: (..., A, 4) left, top, right, bottom, in strides of the anchor.
        strides: (A, 1) pixels per cell.

    Returns:
        (..., A, 4) boxes_xyxy in pixels.
    """
    return decode_ltrb(centers, distances * strides)


def encode_ltrb(centers: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Inverse of `decode_ltrb`: distances from each centre to the sides of its box.

    Args:
        centers: (A, 2) or broadcastable with (..., A, 2), pixels.
        boxes_xyxy: (..., A, 4), pixels.

    Returns:
        (..., A, 4) left, top, right, bottom in pixels; negative where the centre lies outside.
    """
    left_top, right_bottom = boxes_xyxy.chunk(2, -1)
    return torch.cat((centers - left_top, right_bottom - centers), -1)


def decode_anchors(logits: Tensor, cells: Tensor, anchors: Tensor, strides: Tensor | int) -> Tensor:
    """Corners of the boxes that an anchor head predicts.

    Args:
        logits: (..., 4) x, y, width, height, before the sigmoid.
        cells: (..., 2) column and row of the cell.
        anchors: (..., 2) width and height, pixels.
        strides: (..., 1) or a number, pixels per cell.

    Returns:
        (..., 4) boxes_xyxy in pixels.
    """
    unit = logits.sigmoid() * 2
    centers = (unit[..., :2] - 0.5 + cells) * strides
    half = unit[..., 2:] ** 2 * (anchors / 2)
    return torch.cat((centers - half, centers + half), -1)


def decode_offsets(centers: Tensor, box_offsets: Tensor, strides: Tensor) -> Tensor:
    """Return the boxes of raw predictions.

    They are float32 at least: half precision has too few bits for an exponential.

    Args:
        centers: (A, 2) cell centres (x, y), pixels.
        box_offsets: (..., A, 4) dx, dy, dw, dh.
        strides: (A, 1) pixels per cell.

    Returns:
        (..., A, 4) boxes_xyxy in pixels.
    """
    raw = box_offsets.to(torch.promote_types(box_offsets.dtype, torch.float32))
    shift, log_size = raw.chunk(2, -1)
    middle = centers + (shift - 0.5) * strides
    half = log_size.exp() * (strides / 2)
    return torch.cat((middle - half, middle + half), -1)


def encode_offsets(centers: Tensor, boxes_xyxy: Tensor, strides: Tensor) -> Tensor:
    """Inverse of :func:`decode_offsets`; boxes have sides above 0.

    Args:
        centers: (A, 2) or broadcastable with (..., A, 2), pixels.
        boxes_xyxy: (..., A, 4), pixels.
        strides: (A, 1) or broadcastable, pixels per cell.

    Returns:
        (..., A, 4) dx, dy, dw, dh.
    """
    left_top, right_bottom = boxes_xyxy.chunk(2, -1)
    shift = ((left_top + right_bottom) / 2 - centers) / strides + 0.5
    return torch.cat((shift, ((right_bottom - left_top) / strides).log()), -1)


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
    """Return the pairs of a box and a cell inside it.

    The cell's centre lies in the box or on its border.

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

"""Box arithmetic of YOLOX: an offset from the cell's corner and the logarithm of the size, both in strides.

    x = (column + dx) stride        width = exp(dw) stride
    y = (row + dy) stride           height = exp(dh) stride

x and y are the middle of the box. A anchors (cells); boxes are corners (x1, y1, x2, y2) in pixels.
Source: Ge et al., 2021, "YOLOX" (arXiv 2107.08430), section 2.1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def decode_offsets(centers: Tensor, box_offsets: Tensor, strides: Tensor) -> Tensor:
    """Boxes of raw predictions, in float32 at least: half precision has too few bits for an exponential.

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

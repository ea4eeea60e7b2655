"""Draws each output from its four tiles in a single resampling.

Or from its one picture; the canvas is never made.

A mosaic's canvas is four pictures that meet in one random point. Every output pixel is mapped back to the
canvas, the side of that point it falls on says which tile it sees, and one bilinear look-up reads it there.
The tiles lie stacked in one tall sheet, each with a grey border, so a coordinate cut at the border reads grey
and one ``grid_sample`` serves the whole batch. Source: mosaic, YOLOv4 (arXiv 2004.10934, section 3.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ghostyolo.data.augment.geometry import Affine
from ghostyolo.data.letterbox import PAD_VALUE


@dataclass(frozen=True)
class Layout:
    """Which picture each quadrant of each canvas shows, and where.

    Attributes (quadrants: top left, top right, bottom left, bottom right):
        sources: (B, 4) int64, picture of each quadrant.
        meet: (B, 2) float32, the point (x, y) of the canvas where the quadrants meet.
        offset: (B, 4, 2) float32; position in the picture = position on the canvas - meet + offset.
        is_mosaic: (B,) bool; where False all four quadrants show one picture, in the middle of the canvas.
    """

    sources: Tensor
    meet: Tensor
    offset: Tensor
    is_mosaic: Tensor

    def to(self, device: torch.device) -> Layout:
        return Layout(*(part.to(device) for part in (self.sources, self.meet, self.offset, self.is_mosaic)))


def partners(steps: Tensor, groups: Tensor | None) -> Tensor:
    """Return which picture each of B pictures meets.

    So many steps on in the batch, among those of its group.

    Args:
        steps: (B, K) int64 from 1.
        groups: (B,) of the pictures; None: all are one group.

    Returns:
        (B, K) int64; a picture that is alone in its group meets itself.
    """
    count = len(steps)
    own = torch.arange(count)[:, None]
    if groups is None:
        return (own + steps) % count
    found = torch.empty_like(steps)
    for index in range(count):
        ahead = (index + torch.arange(1, count)) % count
        same = ahead[groups[ahead] == groups[index]]
        found[index] = same[(steps[index] - 1) % len(same)] if len(same) else index
    return found


def random_layout(
    sizes: Tensor,
    imgsz: int,
    mosaic_probability: float,
    generator: torch.Generator,
    groups: Tensor | None = None,
) -> Layout:
    """Choose partners and meeting points for B pictures.

    ``sizes`` (B, 2) are width and height; all on the CPU.

    The other three come from the rest of the batch, see :func:`partners`.
    """
    count = len(sizes)
    steps = torch.randint(1, max(count, 2), (count, 3), generator=generator)
    own = torch.arange(count)[:, None]
    sources = torch.cat([own, partners(steps, groups)], dim=1)
    meet = (torch.rand(count, 2, generator=generator) + 0.5) * imgsz
    is_mosaic = torch.rand(count, generator=generator) < mosaic_probability
    # Left tiles end at the meeting point and upper tiles too; the others begin there.
    ends_there = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    offset = sizes.float()[sources] * ends_there

    alone = ~is_mosaic
    sources[alone] = own[alone].expand(-1, 4)
    meet[alone] = imgsz - sizes[alone].float() / 2
    offset[alone] = 0
    return Layout(sources, meet, offset, is_mosaic)


def stack_pictures(images: Sequence[Tensor], imgsz: int, reuse: Tensor | None = None) -> Tensor:
    """Copy pictures side by side into one sheet of float32.

    They are (C, h_i, w_i), sides at most imgsz; the sheet is (1, C, B x (imgsz + 2), imgsz + 2).

    ``reuse``: a sheet of an earlier batch, overwritten if its shape is right; fresh memory costs more than
    the copy itself.
    """
    cell, device = imgsz + 2, images[0].device
    shape = (1, images[0].shape[0], len(images) * cell, cell)
    if reuse is not None and reuse.shape == shape and reuse.device == device:
        sheet = reuse
    else:
        sheet = torch.empty(shape, device=device)
    for tile, image in zip(sheet[0].split(cell, dim=1), images, strict=True):
        _, height, width = image.shape
        tile[:, 1 : 1 + height, 1 : 1 + width] = image
        for margin in (tile[:, 0], tile[:, 1 + height :], tile[:, :, 0], tile[:, :, 1 + width :]):
            margin.fill_(PAD_VALUE)
    return sheet


def sample_outputs(sheet: Tensor, layout: Layout, affine: Affine, imgsz: int) -> Iterator[tuple[slice, Tensor]]:
    """Resample every output from the sheet.

    Some at a time, so that a CPU keeps them in its cache.

    Args:
        sheet: from ``stack_pictures``.
        layout, affine: of B outputs, on the sheet's device; ``affine`` maps canvas to output.

    Yields:
        (slice of the batch, (C, n, imgsz, imgsz) float32 in 0..255) until all B are done.
    """
    count, channels = len(layout.sources), sheet.shape[1]
    step = 1 if sheet.device.type == "cpu" else count
    inverse = affine.inverse()
    # From here on the canvas is counted from the meeting point.
    shift = inverse.shift - layout.meet
    centres = torch.arange(imgsz, device=sheet.device) + 0.5
    columns, rows = centres.view(1, 1, -1), centres.view(1, -1, 1)
    for start in range(0, count, step):
        part = slice(start, start + step)
        matrix = inverse.matrix[part, :, :, None, None]
        x = matrix[:, 0, 0] * columns + shift[part, 0, None, None]
        y = matrix[:, 1, 1] * rows + shift[part, 1, None, None]
        if not affine.axis_aligned:
            x = x + matrix[:, 0, 1] * rows
            y = y + matrix[:, 1, 0] * columns
        grid = _sheet_coordinates(x, y, layout, part, imgsz, sheet)
        # All outputs of a part are rows of one tall output, since they share one input.
        sampled = F.grid_sample(sheet, grid.view(1, -1, imgsz, 2), mode="bilinear", align_corners=False)
        yield part, sampled.view(channels, -1, imgsz, imgsz)


def _sheet_coordinates(x: Tensor, y: Tensor, layout: Layout, part: slice, imgsz: int, sheet: Tensor) -> Tensor:
    """Turn positions relative to the meeting point into ``grid_sample`` coordinates of the sheet.

    Args:
        x, y: (n, S, S) or, where no map turns, (n, 1, S) and (n, S, 1): then only the last step is full size.

    Returns:
        (n, S, S, 2) float32, -1..1 over the sheet.
    """
    right, lower = x >= 0, y >= 0
    # Within half a pixel of the meeting lines bilinear weights would reach into a tile's grey border: stop at
    # the centre of its last pixel. A lone picture has no such lines.
    half = layout.is_mosaic[part].float()[:, None, None] / 2
    x = torch.where(right, torch.maximum(x, half), torch.minimum(x, -half))
    y = torch.where(lower, torch.maximum(y, half), torch.minimum(y, -half))

    cell = imgsz + 2
    offset = layout.offset[part, :, :, None, None]
    first_row = (layout.sources[part, :, None, None] * cell).float()

    def columns_of(left_quadrant: int, right_quadrant: int) -> Tensor:
        column = x + torch.where(right, offset[:, right_quadrant, 0], offset[:, left_quadrant, 0]) + 1
        return column.clamp(0.5, cell - 0.5).mul_(2 / sheet.shape[3]).sub_(1)

    def rows_of(upper_quadrant: int, lower_quadrant: int) -> Tensor:
        row = y + torch.where(lower, offset[:, lower_quadrant, 1], offset[:, upper_quadrant, 1]) + 1
        row = row.clamp(0.5, cell - 0.5)
        row = row + torch.where(lower, first_row[:, lower_quadrant], first_row[:, upper_quadrant])
        return row.mul_(2 / sheet.shape[2]).sub_(1)

    grid = torch.empty(len(x), imgsz, imgsz, 2, device=x.device)
    grid[..., 0] = torch.where(lower, columns_of(2, 3), columns_of(0, 1))
    grid[..., 1] = torch.where(right, rows_of(1, 3), rows_of(0, 2))
    return grid

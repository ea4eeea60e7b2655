"""One view on all heads: for each cell class scores and a box.

It lets two heads of different kinds be compared cell by cell. A anchors in all, those of the finest level first, each
level row by row; of an anchor head each cell counts once for each of its anchors, the first anchor's cells first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from ghostyolo.models.heads.outputs import AnchorOutput, DflOutput, YoloXOutput
from ghostyolo.nn.boxes import decode_anchors, decode_distances, decode_offsets, expected_distance

CellOutput = DflOutput | YoloXOutput | AnchorOutput


@dataclass
class CellPredictions:
    """Raw predictions of a head, in float32 at least.

    Attributes:
        score_logits: (B, A, classes); their sigmoid is the score that the head decodes to.
        box_values: (B, A, K) what boxes are decoded from.
        bins: K = 4 x bins of a distribution head; None for the others.
        decode: corners (P, 4) in pixels of values (P, K) at anchors (P,), int64.
    """

    score_logits: Tensor
    box_values: Tensor
    bins: int | None
    decode: Callable[[Tensor, Tensor], Tensor]

    def boxes_xyxy(self, rows: Tensor) -> Tensor:
        """Boxes (P, 4) of some rows (P,) int64 of the B x A predictions."""
        values = self.box_values.flatten(0, 1).index_select(0, rows)
        return self.decode(values, rows % self.box_values.shape[1])


def read_cells(output: CellOutput, cells: dict[int, int], strides: Collection[int]) -> CellPredictions:
    """The predictions at some of a head's strides.

    Args:
        output: raw predictions.
        cells: number of cells at each of the head's strides, finest first.
        strides: those that are wanted.
    """
    if isinstance(output, AnchorOutput):
        return _of_anchors(output, strides)
    wanted = [stride in strides for stride in cells]

    def pick(values: Tensor, dim: int) -> Tensor:
        parts = values.split(list(cells.values()), dim)
        kept = [part for part, keep in zip(parts, wanted, strict=True) if keep]
        return values if all(wanted) else torch.cat(kept, dim)

    cls_logits = pick(_float(output.cls_logits), 1)
    centers, steps = pick(output.centers, 0).to(cls_logits), pick(output.strides, 0).to(cls_logits)
    if isinstance(output, YoloXOutput):
        obj_logits = pick(_float(output.obj_logits), 1).unsqueeze(-1)

        def decode_xywh(values: Tensor, anchors: Tensor) -> Tensor:
            return decode_offsets(centers[anchors], values, steps[anchors])

        return CellPredictions(
            joint_logits(obj_logits, cls_logits), pick(_float(output.box_offsets), 1), None, decode_xywh
        )
    bins = output.box_logits.shape[-1] // 4

    def decode_bins(values: Tensor, anchors: Tensor) -> Tensor:
        return decode_distances(centers[anchors], expected_distance(values, bins), steps[anchors])

    return CellPredictions(cls_logits, pick(_float(output.box_logits), 1), bins, decode_bins)


def joint_logits(obj_logits: Tensor, cls_logits: Tensor) -> Tensor:
    """Return the logits of the product of two probabilities.

    They are exact: 1 / (pq) - 1 = e^-o + e^-c + e^-(o + c).
    """
    obj_logits, cls_logits = torch.broadcast_tensors(obj_logits, cls_logits)
    return -torch.logsumexp(torch.stack((-obj_logits, -cls_logits, -obj_logits - cls_logits)), 0)


def _of_anchors(output: AnchorOutput, strides: Collection[int]) -> CellPredictions:
    logits, cells, sizes, steps = [], [], [], []
    for level, (raw, stride) in enumerate(zip(output.logits, output.strides, strict=True)):
        if stride not in strides:
            continue
        anchors, (height, width) = raw.shape[1], raw.shape[-2:]
        y, x = torch.meshgrid(
            torch.arange(height, device=raw.device), torch.arange(width, device=raw.device), indexing="ij"
        )
        logits.append(_float(raw).flatten(3).transpose(2, 3).flatten(1, 2))
        cells.append(torch.stack((x, y), -1).reshape(-1, 2).repeat(anchors, 1))
        sizes.append(output.anchors[level].repeat_interleave(height * width, 0))
        steps.append(torch.full((anchors * height * width, 1), stride, device=raw.device))
    flat = torch.cat(logits, 1)
    places, anchor_sizes, pixels = (torch.cat(parts).to(flat) for parts in (cells, sizes, steps))

    def decode(values: Tensor, anchors: Tensor) -> Tensor:
        return decode_anchors(values, places[anchors], anchor_sizes[anchors], pixels[anchors])

    return CellPredictions(joint_logits(flat[..., 4:5], flat[..., 5:]), flat[..., :4], None, decode)


def _float(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))

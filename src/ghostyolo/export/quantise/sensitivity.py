"""Which layers suffer most from 8 bits: each convolution is rounded alone, in torch, and the answer compared."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ghostyolo.nn.fake_quant import observe, with_fake_quant

OBSERVED = 32  # pictures that ranges are taken from
COMPARED = 4  # pictures that answers are compared on


def rank_layers(folded: nn.Module, calibration: Sequence[npt.NDArray[np.float32]]) -> dict[str, float]:
    """The answer's error for each convolution, by module path; first those of most error a weight.

    So the layers that are kept in float make the file grow least for what they bring back. The error is the sum over
    anchors of what scores change by, plus what box corners move by as a share of the canvas, counted as the anchor's
    score: a box that nobody would report does not matter.

    Args:
        folded: gives boxes (B, A, 4) in pixels and scores (B, A, classes).
        calibration: (1, C, H, W) float32 in 0..1, all of one size.
    """
    network = copy.deepcopy(folded).eval()
    convs = with_fake_quant(network)
    images = [torch.from_numpy(canvas) for canvas in calibration[:: max(1, len(calibration) // OBSERVED)]]
    with torch.no_grad():
        with observe(convs):
            for image in images:
                network(image)
        compared = torch.cat(images[:: max(1, len(images) // COMPARED)][:COMPARED])
        expected = network(compared)
        errors, weights = {}, {}
        for path, conv in convs.items():
            conv.rounds = True
            errors[path] = _distance(network(compared), expected, max(compared.shape[2:]))
            conv.rounds = False
            weights[path] = conv.weight.numel()
    return dict(sorted(errors.items(), key=lambda item: -item[1] / weights[item[0]]))


def _distance(found: Sequence[Tensor], expected: Sequence[Tensor], side: int) -> float:
    boxes, scores = found
    expected_boxes, expected_scores = expected
    moved = (boxes - expected_boxes).abs().mean(-1) / side
    return float((scores - expected_scores).abs().sum() + (moved * expected_scores.amax(-1)).sum())


def well_known(folded: nn.Module) -> list[str]:
    """Convolutions that are known to suffer and hold few weights: the first one, and those that end in boxes.

    Gates of attention suffer too, but hold many weights, and not all of them matter: they are measured.
    """
    convs = [path for path, module in folded.named_modules() if isinstance(module, nn.Conv2d)]
    branches = getattr(getattr(folded, "head", None), "box", [])
    ends = [
        f"head.box.{number}.{[path for path, module in branch.named_modules() if isinstance(module, nn.Conv2d)][-1]}"
        for number, branch in enumerate(branches)
    ]
    return [*convs[:1], *ends]

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
_GATES = ("squeezeexcite", "semodule", "gate")  # in the names of classes, ours and timm's


def rank_layers(folded: nn.Module, calibration: Sequence[npt.NDArray[np.float32]]) -> dict[str, float]:
    """The answer's error for each convolution, by module path, the largest first.

    The error is the sum over anchors of what scores change by, plus what box corners move by as a share of the canvas,
    counted as the anchor's score: a box that nobody would report does not matter.

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
        errors = {}
        for path, conv in convs.items():
            conv.rounds = True
            errors[path] = _distance(network(compared), expected, max(compared.shape[2:]))
            conv.rounds = False
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def _distance(found: Sequence[Tensor], expected: Sequence[Tensor], side: int) -> float:
    boxes, scores = found
    expected_boxes, expected_scores = expected
    moved = (boxes - expected_boxes).abs().mean(-1) / side
    return float((scores - expected_scores).abs().sum() + (moved * expected_scores.amax(-1)).sum())


def well_known(folded: nn.Module) -> list[str]:
    """Convolutions that are known to suffer: the first one, the outputs of boxes, and the gates of attention.

    Box outputs are the last convolutions of a head's ``box`` branches; gates are convolutions of squeeze-and-excite
    modules, and of those that multiply a map by another one.
    """
    convs = [(path, module) for path, module in folded.named_modules() if isinstance(module, nn.Conv2d)]
    if not convs:
        return []
    chosen = [convs[0][0]]
    head = getattr(folded, "head", None)
    for number, branch in enumerate(getattr(head, "box", [])):
        last = [path for path, module in branch.named_modules() if isinstance(module, nn.Conv2d)][-1]
        chosen.append(f"head.box.{number}.{last}")
    for path, module in folded.named_modules():
        if any(word in type(module).__name__.lower() for word in _GATES):
            chosen += [f"{path}.{name}" for name, child in module.named_modules() if isinstance(child, nn.Conv2d)]
    return list(dict.fromkeys(chosen))

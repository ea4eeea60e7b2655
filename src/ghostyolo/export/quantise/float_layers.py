"""Finds the convolutions that must stay in float.

With them AP falls by no more than is allowed. Few trials, since each one writes and measures a file: everything in INT8
first; then the well-known layers in float; then with them the 1, 2, 4, ... most sensitive others, until the drop is
small enough; then halving between the last that was not and the first that was. The fewer stay in float, the smaller
the file. How much a layer suffers from 8 bits is found by rounding it alone, in torch, and comparing the answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ghostyolo.export.quantise import Canvas
from ghostyolo.nn.fake_quant import observe, with_fake_quant

OBSERVED = 32  # pictures that ranges are taken from
COMPARED = 4  # pictures that answers are compared on
FINER = 2  # trials to halve with
FIRST_STEP = 4  # layers beyond the well-known ones, doubled from trial to trial
LARGEST_SHARE = 0.5  # of all layers; beyond that it is no INT8 file


@dataclass(frozen=True)
class Trial:
    """One file that was tried.

    Attributes:
        kept: module paths of the convolutions that stay in float.
        drop: points of 100 that AP falls by; negative where it rises.
    """

    kept: frozenset[str]
    drop: float


def search(
    measure: Callable[[frozenset[str]], float],
    max_drop: float,
    well_known: Sequence[str],
    rank: Callable[[], Sequence[str]],
) -> list[Trial]:
    """Try files until one is good enough; return all trials.

    The answer is :func:`choose` of them.

    Args:
        measure: writes a file that keeps these layers in float; returns by how many points AP falls.
        max_drop: points that are allowed.
        well_known: layers that are known to be sensitive, tried first.
        rank: all layers by falling sensitivity; asked only where the well-known ones are not enough.

    Returns:
        The trials in order, at least one.
    """
    trials = [Trial(frozenset(), measure(frozenset()))]
    if trials[0].drop <= max_drop:
        return trials

    def attempt(kept: frozenset[str]) -> bool:
        trials.append(Trial(kept, measure(kept)))
        return trials[-1].drop <= max_drop

    base = frozenset(well_known)
    if base and attempt(base):
        return trials
    ranked = list(rank())
    others = [path for path in ranked if path not in base]
    limit = min(len(others), int(LARGEST_SHARE * len(ranked)) - len(base))
    failed, step = 0, FIRST_STEP
    while failed < limit:
        count = min(step, limit)
        if attempt(base | frozenset(others[:count])):
            _halve(lambda number: attempt(base | frozenset(others[:number])), failed, count)
            return trials
        failed, step = count, step * 2
    return trials


def _halve(attempt: Callable[[int], bool], failed: int, passed: int) -> None:
    for _ in range(FINER):
        middle = (failed + passed) // 2
        if middle in (failed, passed):
            return
        if attempt(middle):
            passed = middle
        else:
            failed = middle


def choose(trials: Sequence[Trial], max_drop: float) -> Trial:
    """Return the trial that keeps the fewest layers and is good enough.

    Where none is, it is the one that lost least.
    """
    good = [trial for trial in trials if trial.drop <= max_drop]
    if good:
        return min(good, key=lambda trial: (len(trial.kept), trial.drop))
    return min(trials, key=lambda trial: trial.drop)


def rank_layers(folded: nn.Module, calibration: Sequence[Canvas]) -> dict[str, float]:
    """Return the answer's error for each convolution, by module path.

    Those of most error a weight come first. So the layers that are kept in float make the file grow least for what they
    bring back. The error is the sum over anchors of what scores change by, plus what box corners move by as a share of
    the canvas, counted as the anchor's score: a box that nobody would report does not matter.

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


def _distance(answer: Sequence[Tensor], expected: Sequence[Tensor], side: int) -> float:
    boxes, scores = answer
    expected_boxes, expected_scores = expected
    moved = (boxes - expected_boxes).abs().mean(-1) / side
    return float((scores - expected_scores).abs().sum() + (moved * expected_scores.amax(-1)).sum())


def well_known(folded: nn.Module) -> list[str]:
    """Return convolutions that are known to suffer and hold few weights.

    They are the first one, and those that end in boxes. Gates of attention suffer too, but hold many weights, and not
    all of them matter: they are measured.
    """
    convs = [path for path, module in folded.named_modules() if isinstance(module, nn.Conv2d)]
    branches = getattr(getattr(folded, "head", None), "box", [])
    ends = [
        f"head.box.{number}.{[path for path, module in branch.named_modules() if isinstance(module, nn.Conv2d)][-1]}"
        for number, branch in enumerate(branches)
    ]
    return [*convs[:1], *ends]

"""Finds where to clip activations for symmetric int8.

It takes the threshold of least squared error, from values on pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

LARGEST = 127
SMALLEST = 1e-30  # below that a scale has no float32, and the values no weight
_BINS = 2048
_SAMPLES = 16384  # of a tensor of one picture, evenly spread
_CANDIDATES = 96


def thresholds(run: Callable[[], Iterable[Mapping[str, npt.NDArray[Any]]]]) -> dict[str, float]:
    """The clipping threshold of each tensor, 0 for one that is always zero.

    Args:
        run: gives the tensors by name, picture by picture; called twice, so that nothing but histograms is kept.
    """
    largest: dict[str, float] = {}
    for tensors in run():
        for name, values in tensors.items():
            largest[name] = max(largest.get(name, 0.0), float(np.abs(values).max(initial=0.0)))
    counts = {name: np.zeros(_BINS) for name in largest}
    for tensors in run():
        for name, values in tensors.items():
            if largest[name] > 0:
                counts[name] += np.histogram(_sample(values), _BINS, (0.0, largest[name]))[0]
    return {name: best_threshold(counts[name], largest[name]) for name in largest}


def best_threshold(counts: npt.NDArray[np.float64], largest: float) -> float:
    """Where to clip, for the least squared error of rounding and clipping together.

    Args:
        counts: histogram of magnitudes between 0 and ``largest``.
        largest: 0 for a tensor that is always zero.
    """
    if largest == 0:
        return 0.0
    centers = (np.arange(len(counts)) + 0.5) * (largest / len(counts))
    candidates = largest * np.linspace(0.1, 1.0, _CANDIDATES)
    errors = []
    for threshold in candidates:
        step = threshold / LARGEST
        beyond = np.maximum(centers - threshold, 0)
        # Rounding errors are spread evenly over a step: its square over 12 is their mean square.
        errors.append(float(counts @ np.where(beyond > 0, beyond**2, step**2 / 12)))
    return float(candidates[int(np.argmin(errors))])


def step_of(threshold: float | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The float value of one int8 step, 1 where all values are zero."""
    return np.where(np.asarray(threshold) > SMALLEST, np.asarray(threshold) / LARGEST, 1.0).astype(np.float32)


def _sample(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    magnitudes = np.abs(values).ravel()
    step = -(-magnitudes.size // _SAMPLES)
    # An odd stride shares no factor with rows of even length, so that it does not see the same columns only.
    return np.append(magnitudes[:: step | 1], magnitudes.max()) if step > 1 else magnitudes

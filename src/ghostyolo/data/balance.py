"""Gives rare classes more weight, in sampling and in the loss. No torch.

Source of the first: repeat-factor sampling, Gupta et al., 2019, "LVIS" (arXiv 1908.03195, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ghostyolo.config import StrictModel
from ghostyolo.data.records import ImageRecord

MOST_REPEATS = 8.0  # a picture that is shown more often is learned by heart


class SamplingConfig(StrictModel):
    """What is done for rare classes; every 0 switches its part off."""

    repeat_threshold: float = Field(
        0.0,
        ge=0,
        le=1,
        description="pictures of a class that is in a share f of them below this one are shown "
        "sqrt(repeat_threshold / f) times as often, at most 8 times",
    )
    class_weights: float = Field(
        0.0,
        ge=0,
        le=1,
        description="objects of a class with n boxes count as n^-class_weights in the class loss, so that all objects "
        "together count as before",
    )


def repeat_factors_of(share: float, threshold: float) -> float:
    """How often pictures of a class with this share are shown."""
    return min(MOST_REPEATS, max(1.0, float(np.sqrt(threshold / share)))) if share else 1.0


def repeat_factors(records: Sequence[ImageRecord], classes: int, threshold: float) -> npt.NDArray[np.float64]:
    """How often each picture is shown in an epoch.

    As often as its rarest class asks for: about once, or more.

    Args:
        records: the training split, of one data set or several.
        classes: number of classes.
        threshold: share of pictures below which a class is rare; 0: none is.

    Returns:
        (N,) factors; their sum is a whole number.
    """
    shares = class_shares(records, classes)
    factors = np.array([repeat_factors_of(share, threshold) for share in shares])
    each = np.array([factors[record.labels[~record.ignore]].max(initial=1.0) for record in records])
    return each * (np.rint(each.sum()) / each.sum()) if len(each) else each


def class_shares(records: Sequence[ImageRecord], classes: int) -> npt.NDArray[np.float64]:
    """Return the share of pictures that show each class.

    It is one of those whose labels know the class, and 0 where none does.
    """
    shown, known = np.zeros(classes), np.zeros(classes)
    for record in records:
        shown[np.unique(record.labels[~record.ignore])] += 1
        known += 1 if record.known is None else record.known
    return shown / np.maximum(known, 1)


def class_weights(records: Sequence[ImageRecord], classes: int, power: float) -> npt.NDArray[np.float64]:
    """What an object of each class counts, 1 in the mean over all objects.

    Args:
        power: 0: all alike; 1: all classes count as much in sum.

    Returns:
        (classes,) weights; 1 for a class without objects.
    """
    labels = np.concatenate([np.zeros(0, np.int64), *(record.labels[~record.ignore] for record in records)])
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    weights = np.maximum(counts, 1) ** -power
    total = (counts * weights).sum()
    weights = weights * (counts.sum() / total) if total else np.ones(classes)
    return np.where(counts > 0, weights, 1.0)

"""Which of a network's boxes are reported: the one place of these defaults."""

from __future__ import annotations

import numbers
from typing import Annotated, Any, TypedDict

from pydantic import BeforeValidator, Field

from ghostyolo.config import StrictModel


def _plain(value: Any) -> Any:
    """Numbers of numpy are numbers too."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else value


Share = Annotated[float, BeforeValidator(_plain)]


class Selection(StrictModel):
    """The limits that a box must pass to be reported as a detection."""

    confidence: Share = Field(default=0.25, ge=0, le=1, description="report objects with a score above this, 0 to 1")
    iou: Share = Field(
        default=0.7, ge=0, le=1, description="overlap above which the weaker box of a class is dropped, 0 to 1"
    )
    max_detections: Annotated[int, BeforeValidator(_plain)] = Field(
        default=300, ge=1, description="the best so many of each picture"
    )
    vote: bool = Field(
        default=False,
        description="a box becomes the mean, by score, of those that it suppresses; without effect there too",
    )
    tta: bool = Field(
        default=False, description="look at the mirrored picture too and join what both find; twice the time"
    )


class MetricSelection(Selection):
    """The limits for scoring: AP wants the whole curve, so weak detections count too."""

    confidence: Share = Field(
        default=0.001, ge=0, le=1, description="leave out what scores less, 0 to 1; AP needs the weak detections too"
    )


class Limits(TypedDict, total=False):
    """The fields of a :class:`Selection` as keyword arguments; None means "as by default"."""

    confidence: float | None
    iou: float | None
    max_detections: int | None
    vote: bool | None
    tta: bool | None


SELECTION, METRIC_SELECTION = Selection(), MetricSelection()

"""Which of a network's boxes are reported: the one place of these defaults."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from pydantic import BeforeValidator, Field, model_validator

from ghostyolo.config import StrictModel
from ghostyolo.errors import ConfigError, suggest

if TYPE_CHECKING:
    from ghostyolo.metadata import BestConfidence

AUTO = "auto"
"""As confidence: the best one of each class, which training stored in the weights."""

ALIASES = {"conf": "confidence", "max_det": "max_detections"}
"""Names that other packages have made usual."""


def _plain(value: Any) -> Any:
    """Numbers of numpy are numbers too."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else value


def _plain_list(value: Any) -> Any:
    """One class is a list of one."""
    if isinstance(value, str | numbers.Integral):
        value = [value]
    return tuple(map(_plain, value)) if isinstance(value, Sequence) else value


Share = Annotated[float, BeforeValidator(_plain)]
Limit = Annotated[float, BeforeValidator(_plain), Field(ge=0, le=1)]


class Selection(StrictModel):
    """The limits that a box must pass to be reported as a detection."""

    confidence: Share = Field(
        default=0.25, ge=0, le=1, description="report objects with a score above this, 0 to 1; auto: above the best "
        "threshold of each class, as training found it",
    )  # fmt: skip
    class_confidence: dict[str, Limit] = Field(
        default_factory=dict, description="another confidence for a class, by its name"
    )
    iou: Share = Field(
        default=0.7, ge=0, le=1, description="overlap above which the weaker box of a class is dropped, 0 to 1"
    )
    max_detections: Annotated[int, BeforeValidator(_plain)] = Field(
        default=300, ge=1, description="the best so many of each picture"
    )
    classes: Annotated[tuple[str | int, ...] | None, BeforeValidator(_plain_list)] = Field(
        default=None, min_length=1, description="report these alone, by name or number"
    )
    vote: bool = Field(
        default=False,
        description="a box becomes the mean, by score, of those that it suppresses; without effect there too",
    )
    tta: bool = Field(
        default=False, description="look at the mirrored picture too and join what both find; twice the time"
    )

    def class_indices(self, class_names: Sequence[str]) -> list[int] | None:
        """Return the numbers of the wanted classes; None: all.

        Raises:
            ConfigError: a name or number that the model does not have; names the nearest one.
        """
        if self.classes is None:
            return None
        indices = []
        for wanted in self.classes:
            if wanted in class_names:
                indices.append(list(class_names).index(str(wanted)))
            elif str(wanted).isdecimal() and int(wanted) < len(class_names):
                indices.append(int(wanted))
            else:
                raise ConfigError(f"the model has no class {wanted!r}: {suggest(str(wanted), class_names)}")
        return indices

    def floors(self, class_names: Sequence[str]) -> list[float] | None:
        """Return the score that a detection of each class must exceed.

        Returns:
            One number for each class, infinite where it is not wanted; None: ``confidence`` for all.

        Raises:
            ConfigError: a class that the model does not have.
        """
        for name in self.class_confidence:
            if name not in class_names:
                raise ConfigError(f"a confidence is given for {name!r}, no class of the model: "
                                  f"{suggest(name, class_names)}")  # fmt: skip
        wanted = self.class_indices(class_names)
        if wanted is None and not self.class_confidence:
            return None
        return [
            self.class_confidence.get(name, self.confidence) if wanted is None or index in wanted else float("inf")
            for index, name in enumerate(class_names)
        ]


class MetricSelection(Selection):
    """The limits for scoring: AP wants the whole curve, so weak detections count too."""

    confidence: Share = Field(
        default=0.001, ge=0, le=1, description="leave out what scores less, 0 to 1; AP needs the weak detections too"
    )

    @model_validator(mode="after")
    def _scores_all(self) -> MetricSelection:
        if self.classes is not None:
            raise ValueError("classes are scored one by one, and those left out would count as missed: leave it out")
        return self


class Limits(TypedDict, total=False):
    """The fields of a :class:`Selection` as keyword arguments; None means "as by default"."""

    confidence: float | Literal["auto"] | None
    class_confidence: Mapping[str, float] | None
    iou: float | None
    max_detections: int | None
    classes: str | int | Sequence[str | int] | None
    vote: bool | None
    tta: bool | None
    conf: float | Literal["auto"] | None
    max_det: int | None


def settle_limits(given: Mapping[str, Any], best: BestConfidence | None) -> dict[str, Any]:
    """Return limits by the names of a :class:`Selection`, numbers in the place of "auto".

    Args:
        given: limits, also by their other usual names.
        best: what "auto" stands for; None: the weights do not know.

    Raises:
        ConfigError: one limit under two names, or "auto" for weights that do not know.
    """
    limits: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        own = ALIASES.get(name, name)
        if own in limits:
            short = next(alias for alias, full in ALIASES.items() if full == own)
            raise ConfigError(f"'{own}' is given twice, under two names: {own} and {short}")
        limits[own] = value
    if limits.get("confidence") == AUTO:
        if best is None:
            raise ConfigError(
                "these weights hold no best confidence, which training stores after validating: give a number"
            )
        limits["confidence"] = best.overall
        limits["class_confidence"] = {**best.per_class, **limits.get("class_confidence", {})}
    return limits


SELECTION, METRIC_SELECTION = Selection(), MetricSelection()

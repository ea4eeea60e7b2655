"""What a detector learns from its teacher, and how strongly. No torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

PARTS = ("logits", "boxes", "features")
DEFAULT_WEIGHTS = {"logits": 1.0, "boxes": 1.0, "features": 5.0}


class DistilConfig(BaseModel):
    """Weights of the parts of distillation. With none given, all that fit the two networks, at their usual weights;
    else those given, and the others are off.

    Also read from text: ``"logits,boxes"`` (usual weights) or ``"logits=1,features=0.5,tau=4"``.

    Attributes:
        logits: weight of the scores, see :mod:`ghostyolo.losses.distil_detector`; usually 1.
        boxes: weight of the boxes, see :mod:`ghostyolo.losses.distil_detector`; usually 1.
        features: weight of the neck's maps, see :mod:`ghostyolo.losses.distil_detector`; usually 5.
        tau: temperature of all three.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    logits: float | None = Field(None, ge=0)
    boxes: float | None = Field(None, ge=0)
    features: float | None = Field(None, ge=0)
    tau: float = Field(2.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        return parse_parts(value) if isinstance(value, str) else value

    @property
    def by_name(self) -> bool:
        """Whether parts were chosen, rather than all that fit."""
        return any(getattr(self, part) is not None for part in PARTS)

    def weights(self) -> dict[str, float]:
        """The parts that are on, by name."""
        if not self.by_name:
            return dict(DEFAULT_WEIGHTS)
        return {part: weight for part in PARTS if (weight := getattr(self, part))}


def parse_parts(text: str) -> dict[str, float]:
    """``"logits=1,boxes"`` as numbers by name; a part without a number has its usual weight.

    Raises:
        ValueError: an empty text or item, a name twice, or something that is no number.
    """
    found: dict[str, float] = {}
    for item in text.split(","):
        name, equals, number = (word.strip() for word in item.partition("="))
        if not name or name in found or (name == "tau" and not equals):
            raise ValueError("write parts and weights such as logits=1,boxes=1,features=0.5, each name once")
        try:
            found[name] = float(number) if equals else DEFAULT_WEIGHTS.get(name, 1.0)
        except ValueError:
            raise ValueError(f"'{number}' is not a number: write a weight such as {name}=1") from None
    return found

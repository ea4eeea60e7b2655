"""What a detector learns from its teacher, and how strongly. No torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from ghostyolo.config import StrictModel

PARTS = ("logits", "boxes", "features")
DEFAULT_WEIGHTS = {"logits": 1.0, "boxes": 1.0, "features": 5.0}


class DistilConfig(StrictModel):
    """Weights of the parts of distillation.

    With none given, all that fit the two networks are on, at their usual weights; else those given alone.

    Also read from text: ``"logits,boxes"`` (usual weights) or ``"logits=1,features=0.5,tau=4"``.
    """

    logits: float | None = Field(None, ge=0, description="weight of the scores; usually 1")
    boxes: float | None = Field(None, ge=0, description="weight of the boxes; usually 1")
    features: float | None = Field(None, ge=0, description="weight of the neck's maps; usually 5")
    tau: float = Field(2.0, gt=0, description="temperature of all three; higher ones soften both sides")

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
    weights: dict[str, float] = {}
    for item in text.split(","):
        name, equals, number = (word.strip() for word in item.partition("="))
        if not name or name in weights or (name == "tau" and not equals):
            raise ValueError("write parts and weights such as logits=1,boxes=1,features=0.5, each name once")
        try:
            weights[name] = float(number) if equals else DEFAULT_WEIGHTS.get(name, 1.0)
        except ValueError:
            raise ValueError(f"'{number}' is not a number: write a weight such as {name}=1") from None
    return weights

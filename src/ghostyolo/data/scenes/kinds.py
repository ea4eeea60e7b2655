"""All kinds of objects, by ingredient. The class of an object is its kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ghostyolo.data.scenes import fractals, glyphs, photographs, shapes, solids
from ghostyolo.data.scenes.patches import Patch
from ghostyolo.errors import ConfigError, suggest

# Whether its objects have an upper side: such are turned a little, others anyhow.
_INGREDIENTS = {
    "glyphs": (glyphs.glyphs, True),
    "handwriting": (glyphs.written_digits, True),
    "shapes": (lambda: shapes.SHAPES, False),
    "blobs": (lambda: shapes.BLOBS, False),
    "solids": (lambda: solids.SOLIDS, False),
    "fractals": (lambda: fractals.FRACTALS, False),
    "photographs": (photographs.photographs, True),
}
INGREDIENTS = tuple(_INGREDIENTS)
VARIANTS = 12  # drawings of each kind; the last two are val's


@dataclass(frozen=True)
class Kind:
    """A kind of objects.

    Attributes:
        name: the class.
        ingredient: what it belongs to.
        upright: it has an upper side.
        number: among all kinds, with none left out: its drawings do not depend on what else is drawn.
    """

    name: str
    ingredient: str
    upright: bool
    number: int


@lru_cache(maxsize=1)
def all_kinds() -> tuple[Kind, ...]:
    """Every kind, in an order that stays."""
    named = [(name, ingredient, upright) for ingredient, (make, upright) in _INGREDIENTS.items() for name in make()]
    return tuple(Kind(name, ingredient, upright, number) for number, (name, ingredient, upright) in enumerate(named))


def kinds_without(left_out: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds but for those of some ingredients.

    Raises:
        ConfigError: an unknown ingredient, or none is left.
    """
    for name in left_out:
        if name not in _INGREDIENTS:
            raise ConfigError(f"ingredient '{name}' of scenes is unknown: {suggest(name, INGREDIENTS)}")
    kinds = tuple(kind for kind in all_kinds() if kind.ingredient not in left_out)
    if not kinds:
        raise ConfigError("all ingredients are left out: nothing is left to draw")
    return kinds


@lru_cache(maxsize=6000)
def drawing(kind: Kind, variant: int) -> Patch:
    """Return one of the ``VARIANTS`` drawings of a kind.

    A handwritten digit or a letter differs from the next as hands do.
    """
    make, _ = _INGREDIENTS[kind.ingredient]
    return make()[kind.name](np.random.default_rng([11, kind.number, variant]))

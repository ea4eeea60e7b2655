"""One knob for the size of every detector: the scale.

It is a letter or a number between letters. No torch.

Each part says in ``register_...(scales={letter: parameters})`` what the letters p, n, s, m, l and x mean for it (its
own width, depth, variant). The letters lie at 0, 1, 2, 3, 4 and 5, and a number between two of them, such as 1.4,
takes fractions in proportion: widths and depths are interpolated geometrically, tuples of channel counts (multiples of
16) too, to multiples of 16; other whole numbers, names and switches are those of the nearer letter. So a detector of
"about 2 M parameters" is found by turning this one knob (`detector.fill_in`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ghostyolo.errors import ConfigError, suggest

LETTERS = ("p", "n", "s", "m", "l", "x")
LARGEST = float(len(LETTERS) - 1)
# Sides of the square picture, in pixels, that a detector of this scale is meant for.
RESOLUTIONS: dict[str, dict[str, Any]] = {letter: {"imgsz": 416 if letter == "p" else 640} for letter in LETTERS}

Scale = str | float
Scales = Mapping[str, Mapping[str, Any]]


def scale_position(scale: Scale) -> float:
    """Return where a scale lies on the axis from 0 (p) to 5 (x).

    It is a letter or a number.

    Raises:
        ConfigError: neither a letter nor a number in that range.
    """
    if isinstance(scale, str):
        if scale not in LETTERS:
            raise ConfigError(f"unknown scale '{scale}': {suggest(scale, LETTERS)}, or a number from 0 to {LARGEST:g}")
        return float(LETTERS.index(scale))
    if not 0 <= scale <= LARGEST:
        raise ConfigError(f"scale {scale} is outside 0 (p) to {LARGEST:g} (x)")
    return float(scale)


def scaled(scales: Scales, scale: Scale) -> dict[str, Any]:
    """Return a part's parameters at a scale.

    They are empty for a part that has no scales.

    Raises:
        ConfigError: see :func:`scale_position`.
    """
    position = scale_position(scale)
    if not scales:
        return {}
    below = min(int(position), len(LETTERS) - 2)
    share = position - below
    small, large = scales[LETTERS[below]], scales[LETTERS[below + 1]]
    nearer = small if share < 0.5 else large
    return {
        key: _between(small[key], large[key], share) if key in small and key in large else value
        for key, value in nearer.items()
    }


def _between(small: Any, large: Any, share: float) -> Any:
    if isinstance(small, float) and isinstance(large, float) and small > 0 and large > 0:
        return round(small ** (1 - share) * large**share, 6)
    if _are_channels(small) and _are_channels(large) and len(small) == len(large):
        return tuple(16 * round(a ** (1 - share) * b**share / 16) for a, b in zip(small, large, strict=True))
    return small if share < 0.5 else large


def _are_channels(value: Any) -> bool:
    return isinstance(value, tuple) and all(count > 0 and count % 16 == 0 for count in value)

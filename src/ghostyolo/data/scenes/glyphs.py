"""Letters, figures and signs of fonts, and handwritten digits.

The fonts are those that matplotlib ships and OpenCV draws.

Licences: DejaVu (Bitstream Vera's, free to use and embed), STIX (Open Font License), Computer Modern (AMS, Open Font
License); OpenCV's Hershey fonts (free for any use). What is made with a font is not bound by its licence.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from ghostyolo.data.scenes import handwriting
from ghostyolo.data.scenes.patches import SIDE, Patch, cut
from ghostyolo.data.scenes.shapes import Draw

# A capital that is its small letter made larger shares its class.
_LATIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghijlmnqrty0123456789"
_SIGNS = (
    "!?&@#%$*+=<>~§©®¶€£¥"
    "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθκλμξπρσφχψω"
    "БДЖЗИЛФЦЧШЩЪЫЭЮЯ"
    "←↑→↓↔↕↖↗⇒⇔∀∂∃∅∇∈∏∑√∞∠∧∩∫≈≠≡≤≥⊂⊃⊕⊗⊥"
    "■□▲△▶◆◇○◎●★☆☎☐☑☒☠☢☣☮☯☺☻☼☾♀♂♔♕♖♗♘♙♚♛♜♝♞♟♠♡♢♣♤♥♦♧♨♩♪♫♭♯⚀⚁⚂⚃⚄⚅⚐⚑⚒⚓⚔⚖⚙⚠⚡"
    "✁✂✆✈✉✌✎✏✓✔✗✘✚✝✡✦✪✱✶✿❀❁❄❉❖❤❧➔➘➤➽"
)
_HERSHEY = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)


@lru_cache(maxsize=1)
def _fonts() -> tuple[Path, ...]:
    import matplotlib

    folder = Path(matplotlib.__file__).parent / "mpl-data" / "fonts" / "ttf"
    names = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "STIXGeneral*.ttf")
    fonts = {path for pattern in names for path in folder.glob(pattern) if "Display" not in path.name}
    return tuple(sorted(fonts))


@lru_cache(maxsize=64)
def _characters(font: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font)).get_charmap())


@lru_cache(maxsize=512)
def _fonts_of(character: str) -> tuple[Path, ...]:
    return tuple(font for font in _fonts() if ord(character) in _characters(font))


@lru_cache(maxsize=32)
def _opened(font: Path):  # type: ignore[no-untyped-def]  # Pillow's class moved between versions
    from PIL import ImageFont

    return ImageFont.truetype(str(font), 80)


def _printed(character: str, rng: np.random.Generator) -> Patch:
    if character.isascii() and rng.random() < 0.25:
        canvas = np.zeros((160, 160), np.uint8)
        face, weight = int(rng.choice(_HERSHEY)), int(rng.integers(3, 9))
        cv2.putText(canvas, character, (40, 110), face, 2.6, 255, weight, cv2.LINE_AA)
        return cut(canvas)
    from PIL import Image, ImageDraw

    fonts = _fonts_of(character)
    font = _opened(fonts[int(rng.integers(len(fonts)))])
    page = Image.new("L", (200, 200))
    ImageDraw.Draw(page).text((50, 40), character, font=font, fill=255)
    return cut(np.asarray(page).copy())


def _written(digit: int, rng: np.random.Generator) -> Patch:
    samples = [int(index) for index in handwriting.sample_indices("train") if handwriting.digit_of(int(index)) == digit]
    ink = handwriting.draw(
        samples[int(rng.integers(len(samples)))],
        height=SIDE * 0.9,
        degrees=0.0,
        aspect=float(rng.uniform(0.85, 1.2)),
        slant=float(rng.uniform(-0.15, 0.15)),
        weight=float(rng.uniform(-0.6, 0.6)),
    )
    return cut((ink * 255).astype(np.uint8))


def _latin(character: str) -> str:
    sort = "figure" if character.isdigit() else "capital" if character.isupper() else "small"
    return f"{sort} {character.lower()}"


def _named(character: str) -> str:
    return f"sign {unicodedata.name(character).lower()}"


def glyphs() -> dict[str, Draw]:
    """Signs that at least one font of this matplotlib has."""
    return {
        **{_latin(character): partial(_printed, character) for character in _LATIN},
        **{_named(character): partial(_printed, character) for character in _SIGNS if _fonts_of(character)},
    }


def written_digits() -> dict[str, Draw]:
    """The ten digits in handwriting, of the samples that ``data digits`` trains on."""
    return {f"written {digit}": partial(_written, digit) for digit in range(10)}

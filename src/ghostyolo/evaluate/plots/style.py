"""How every result picture looks, and how it is written.

Figures are made without pyplot: no window system is touched, nothing stays open, and threads do not share
state.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, SupportsIndex

from ghostyolo.files import atomic_path

# Okabe and Ito's colours (told apart by colour-blind readers too; the yellow is left out, it is faint on
# white) and darker or lighter relatives for classes nine onwards.
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6A3D9A", "#8C564B",
    "#004A75", "#8F3F00", "#00664B", "#8A4A6E", "#9C6C00", "#2A7AA8", "#B15928", "#7F7F7F",
)  # fmt: skip
INK = "#222222"
FAINT = "#8A8A8A"

_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.edgecolor": "#BBBBBB",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "text.parse_math": False,  # a class may be called "5$"
    "axes.formatter.use_mathtext": False,
}
# matplotlib's own font has no Chinese, Japanese or Korean; the first of these that the machine has supplies
# them.
_FALLBACK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC",
    "Hiragino Sans GB", "WenQuanYi Zen Hei", "SimHei", "Arial Unicode MS",
)  # fmt: skip


def colour(label: SupportsIndex) -> str:
    """The colour of a class, the same in every picture."""
    return PALETTE[int(label) % len(PALETTE)]


@contextmanager
def figure_file(path: str | os.PathLike[str], width: float, height: float, dpi: int = 110) -> Iterator[Any]:
    """Yield an empty ``Figure`` of the size in inches.

    At the end ``path`` appears whole, or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    families = ["DejaVu Sans", *[name for name in _FALLBACK_FONTS if name in installed][:1]]
    with matplotlib.rc_context({**_STYLE, "font.family": families}), _quiet_about_glyphs():
        figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained", facecolor="white")
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=Path(path).suffix.lstrip(".") or "png")


@contextmanager
def _quiet_about_glyphs() -> Iterator[None]:
    """A name in a script that no font covers shows as boxes; a warning for each letter helps nobody."""
    import warnings

    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*Glyph.*missing")
            yield
    finally:
        logger.setLevel(level)


def shorten(name: str, length: int = 18) -> str:
    """Cut a long class name."""
    return name if len(name) <= length else name[: length - 1] + "…"

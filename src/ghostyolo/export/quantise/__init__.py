"""INT8 files: pictures to calibrate on, and layers that stay float.

Each format's quantiser is in its file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ghostyolo.export.deployed import ExportJob

Canvas = npt.NDArray[np.float32]
"""A picture as input of a network: (1, C, H, W) in 0..1."""

Quantiser = Callable[["ExportJob", Path, Sequence[Canvas], frozenset[str]], None]
"""``quantise(job, path, calibration, keep_float)`` writes an INT8 file. ``keep_float`` holds module paths of the folded
network's convolutions, such as ``head.box.0.2``; those, and everything behind the last convolutions (the decoding of
boxes), stay in float."""

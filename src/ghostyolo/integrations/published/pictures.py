"""The built-in pictures, as a network takes them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor


def built_in_pictures(side: int) -> list[Tensor]:
    """RGB (1, 3, side, side) of 0 to 1 each."""
    folder = Path(str(resources.files("ghostyolo"))) / "assets" / "pictures"
    pictures = []
    for path in sorted(folder.iterdir()):
        bgr = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        assert bgr is not None
        rgb = cv2.resize(bgr, (side, side), interpolation=cv2.INTER_AREA)[..., ::-1]
        pictures.append(torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255)
    return pictures

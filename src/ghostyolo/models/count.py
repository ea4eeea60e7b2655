"""Count parameters and multiply-accumulates, always of a stated size. FLOPs = 2 x MACs."""

from __future__ import annotations

import copy
import logging
import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ghostyolo.metadata import check_imgsz
from ghostyolo.nn.reparam import fold

if TYPE_CHECKING:
    from ghostyolo.models.detector import DetectionModel

log = logging.getLogger(__name__)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters (buffers such as batch norm statistics are not parameters)."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, imgsz: int | tuple[int, int], in_channels: int = 3) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image.

    Runs on the meta device: shapes only, no arithmetic, so a large model takes no more time than a small one.

    Args:
        model: a network that takes (B, in_channels, H, W); it is not changed.
        imgsz: side of a square, or (H, W), in pixels.
    """
    height, width = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    shadow = copy.deepcopy(model).to("meta").eval()
    image = torch.empty(1, in_channels, height, width, device="meta")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shadow(image)
    return int(counter.get_total_flops()) // 2


def try_count_macs(model: nn.Module, imgsz: int | tuple[int, int], in_channels: int = 3) -> int | None:
    """:func:`count_macs`, or None where an operation of somebody else's network has no shape rule."""
    try:
        return count_macs(model, imgsz, in_channels)
    except Exception as error:  # whatever the operation raises
        log.warning("multiply-accumulates could not be counted: %s", error)
        return None


def count_model(model: DetectionModel, imgsz: int) -> dict[str, float]:
    """Count parameters, MACs and FLOPs of a detector.

    Parameters in training and folded (millions), MACs and FLOPs = 2 x MACs (billions) of one folded picture.

    Raises:
        ConfigError: a size the network cannot take.
    """
    check_imgsz(imgsz, model.stride)
    folded = fold(model)
    macs = count_macs(folded, imgsz, model.in_channels)
    return {
        "params_m": round(count_parameters(model) / 1e6, 4),
        "params_deployed_m": round(count_parameters(folded) / 1e6, 4),
        "macs_g": round(macs / 1e9, 4),
        "flops_g": round(2 * macs / 1e9, 4),
    }

"""Count parameters and multiply-accumulates, always of a stated size. FLOPs = 2 x MACs."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


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

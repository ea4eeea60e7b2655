"""YOLOv13's neck: HyperACE correlation, a path aggregation network, and FullPAD tunnels.

Source: arXiv 2506.17733, sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.models.registry import register_neck
from ghostyolo.nn.blocks import Conv, DSC3k2, fit_channels
from ghostyolo.nn.channels import scale_channels, scale_repeats
from ghostyolo.nn.hypergraph import HyperAce, Tunnel


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


# n, s, l, x as published; p and m are ours.
_SCALES: dict[str, dict[str, Any]] = {
    "p": {"depth": 0.5, "width": 0.125, "max_channels": 1024, "hyperedges": 4},
    "n": {"depth": 0.5, "width": 0.25, "max_channels": 1024, "hyperedges": 4},
    "s": {"depth": 0.5, "width": 0.5, "max_channels": 1024, "hyperedges": 8},
    "m": {"depth": 0.5, "width": 0.75, "max_channels": 768, "hyperedges": 8},
    "l": {"depth": 1.0, "width": 1.0, "max_channels": 512, "hyperedges": 8},
    "x": {"depth": 1.0, "width": 1.5, "max_channels": 512, "hyperedges": 12},
}


@register_neck("hyperace_fullpad", scales=_SCALES)
class HyperAceFullPad(nn.Module):
    """YOLOv13's neck: every level gets one shared hypergraph feature.

    Top-down and bottom-up fusion of P3, P4, P5.

    Input and output: three maps at the strides of the backbone. A backbone whose channels are not the neck's own is
    fitted by a 1x1 convolution on each level that differs.

    Args:
        in_channels: of P3, P4, P5.
        depth, width, max_channels: the scale, see :mod:`ghostyolo.nn.channels`.
        hyperedges: 4, 8, 8, 12 in n, s, l, x.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        depth: float = 0.5,
        width: float = 0.25,
        max_channels: int = 1024,
        hyperedges: int = 8,
    ) -> None:
        super().__init__()
        two = scale_repeats(2, depth)
        c256, c512, c1024 = (scale_channels(count, width, max_channels) for count in (256, 512, 1024))
        entry = (c512, c512, c1024)
        self.fit = fit_channels(in_channels, entry)
        self.correlate = HyperAce(entry, c512, two, hyperedges)
        self.enhance5 = nn.Identity() if c1024 == c512 else Conv(c512, c1024)
        self.enhance3 = nn.Identity() if c256 == c512 else Conv(c512, c256)
        self.tunnels = nn.ModuleDict(
            {name: Tunnel() for name in ("in3", "in4", "in5", "down4", "out3", "out4", "out5")}
        )
        self.down4 = DSC3k2(c1024 + c512, c512, two, nested=True)
        self.down3 = DSC3k2(c512 + c512, c256, two, nested=True)
        self.stride3 = Conv(c256, c256, 3, 2)
        self.up4 = DSC3k2(c256 + c512, c512, two, nested=True)
        self.stride4 = Conv(c512, c512, 3, 2)
        self.up5 = DSC3k2(c512 + c1024, c1024, two, nested=True)
        self.channels = (c256, c512, c1024)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        p3, p4, p5 = (fit(feature) for fit, feature in zip(self.fit, features, strict=True))
        h4 = self.correlate((p3, p4, p5))
        h3 = _up(h4)
        h5 = self.enhance5(F.avg_pool2d(h4, 2))
        tunnels = self.tunnels

        p5 = tunnels["in5"](p5, h5)
        down4 = self.down4(torch.cat((_up(p5), tunnels["in4"](p4, h4)), 1))
        # As published, P3 is fed by the node before its tunnel, the way up by the node after it.
        down3 = self.down3(torch.cat((_up(down4), tunnels["in3"](p3, h3)), 1))
        out3 = tunnels["out3"](down3, self.enhance3(h3))
        up4 = self.up4(torch.cat((self.stride3(out3), tunnels["down4"](down4, h4)), 1))
        up5 = self.up5(torch.cat((self.stride4(up4), p5), 1))
        return [out3, tunnels["out4"](up4, h4), tunnels["out5"](up5, h5)]

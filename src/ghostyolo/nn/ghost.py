"""Ghost modules and bottlenecks, versions 1, 2 and 3.

Sources: GhostNet (arXiv 1911.11907, sections 3.1 and 3.2), GhostNetV2 (2211.12905), GhostNetV3 (2404.11202, 3.2).
V3 is V2's graph with re-parameterized branches in training: ``branches=None`` builds plain conv + BN (V1, V2), a number
builds that many branches (V3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ghostyolo.nn.attention import GATES, SqueezeExcite
from ghostyolo.nn.reparam import Activation, ConvNorm, RepConv


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def _conv(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int,
    groups: int,
    act: Activation | None,
    branches: int | None,
    pointwise_branch: bool,
) -> nn.Module:
    """Plain conv + BN, or a branch container. Only depthwise convolutions get the BN identity (as published)."""
    if branches is None:
        return ConvNorm(in_channels, out_channels, kernel, stride, groups, act)
    return RepConv(
        in_channels, out_channels, kernel, stride, groups, act, branches, pointwise_branch, identity=groups > 1
    )


class GhostModule(nn.Module):
    """A module that computes half of its maps cheaply from the other half.

    A 1x1 convolution makes the first half, a depthwise one of those the other; a gate may follow.

    Input (B, C_in, H, W), output (B, C_out, H, W).

    :meth:`halves` gives the two halves apart, as a deployed graph without concatenation wants them;
    ``forward`` is their concatenation. Both views share the weights.

    Args:
        act: activation after both halves; None for the second module of a bottleneck.
        attention: ``"dfc"``, ``"psa"`` or ``"none"``.
        branches: None for plain convolutions, N for branch containers.
        pointwise_branch: the 1x1 branch beside those of a depthwise container.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        cheap_kernel: int = 3,
        act: Activation | None = _relu,
        attention: str = "none",
        branches: int | None = None,
        pointwise_branch: bool = True,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        primary = math.ceil(out_channels / 2)
        self.primary = _conv(in_channels, primary, 1, 1, 1, act, branches, pointwise_branch)
        self.cheap = _conv(primary, primary, cheap_kernel, 1, primary, act, branches, pointwise_branch)
        gate = GATES[attention]
        self.gate = gate(in_channels, out_channels) if gate is not None else None

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the primary and the cheap half before any gate.

        They are (B, ceil(C_out / 2), H, W) and (B, floor(C_out / 2), H, W).
        """
        primary = self.primary(x)
        cheap = self.cheap(primary)
        return primary, cheap[:, : self.out_channels - primary.shape[1]] if self.out_channels % 2 else cheap

    def forward(self, x: Tensor) -> Tensor:
        ghost = torch.cat(self.halves(x), dim=1)
        return ghost if self.gate is None else self.gate(x, ghost)


class GhostBottleneck(nn.Module):
    """Ghost expand, depthwise stride, squeeze-excite, Ghost project, shortcut.

    Input (B, C_in, H, W), output (B, C_out, H / stride, W / stride).

    Args:
        kernel: of the strided depthwise convolution and of the shortcut's.
        squeeze_excite: weigh the expanded channels.
        attention: gate of the first Ghost module.
        branches, pointwise_branch: see :class:`GhostModule`. The shortcut is never given branches (as published).
    """

    def __init__(
        self,
        in_channels: int,
        expanded: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        squeeze_excite: bool = False,
        attention: str = "none",
        branches: int | None = None,
        pointwise_branch: bool = True,
    ) -> None:
        super().__init__()
        self.expand = GhostModule(
            in_channels, expanded, attention=attention, branches=branches, pointwise_branch=pointwise_branch
        )
        self.depthwise = (
            _conv(expanded, expanded, kernel, stride, expanded, None, branches, pointwise_branch)
            if stride > 1
            else nn.Identity()
        )
        self.squeeze_excite = SqueezeExcite(expanded) if squeeze_excite else nn.Identity()
        self.project = GhostModule(
            expanded, out_channels, act=None, branches=branches, pointwise_branch=pointwise_branch
        )
        if in_channels == out_channels and stride == 1:
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.shortcut = nn.Sequential(
                ConvNorm(in_channels, in_channels, kernel, stride, in_channels),
                ConvNorm(in_channels, out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.squeeze_excite(self.depthwise(self.expand(x)))
        return self.project(y) + self.shortcut(x)

"""The layers that a row can name: ``ghostyolo.`` and a key of :data:`KINDS`.

Every builder is called as ``builder(in_channels, out_channels, **parameters)``, with ``in_channels`` a tuple where a
layer reads several maps, and makes a module of ours; maps are (B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ghostyolo.errors import ConfigError
from ghostyolo.nn.attention import DfcGate, PsaGate
from ghostyolo.nn.blocks import A2C2f, Conv, DSC3k2, DSConv
from ghostyolo.nn.channels import make_divisible
from ghostyolo.nn.ghost import GhostBottleneck, GhostModule
from ghostyolo.nn.hypergraph import HyperAce, Tunnel


@dataclass(frozen=True)
class Kind:
    """How a row of this name is read.

    Attributes:
        builder: see this module.
        inputs: maps that the layer reads.
        keeps_channels: it gives as many as it reads, so that the row has none to say.
        repeats: the row's repeats, scaled by depth, are the builder's parameter ``repeats``.
        spread: see :class:`~ghostyolo.integrations.ultralytics.layer.Layer`.
        modern: as with that package's C3k2, a Detect after it has the light class branch of YOLO11 and later.
    """

    builder: Callable[..., nn.Module]
    inputs: int = 1
    keeps_channels: bool = False
    repeats: bool = False
    spread: bool = False
    modern: bool = False


class SelfGate(nn.Module):
    """A Ghost module's gate as a layer of its own: the map is weighted by what the gate sees in it."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x, x)


def _dfc(in_channels: int, out_channels: int) -> nn.Module:
    return SelfGate(DfcGate(in_channels, out_channels))


def _psa(in_channels: int, out_channels: int) -> nn.Module:
    return SelfGate(PsaGate(in_channels, out_channels))


def _ghost_module(
    in_channels: int, out_channels: int, cheap_kernel: int = 3, attention: str = "none", branches: int | None = None
) -> nn.Module:
    return GhostModule(in_channels, out_channels, cheap_kernel, attention=attention, branches=branches)


def _ghost_bottleneck(
    in_channels: int,
    out_channels: int,
    expansion: float = 3.0,
    kernel: int = 3,
    stride: int = 1,
    squeeze_excite: bool = False,
    attention: str = "none",
    branches: int | None = None,
) -> nn.Module:
    """Expanded channels are ``expansion`` times the input's, a multiple of 4."""
    expanded = make_divisible(expansion * in_channels, 4)
    return GhostBottleneck(in_channels, expanded, out_channels, kernel, stride, squeeze_excite, attention, branches)


def _fit(in_channels: int, out_channels: int) -> nn.Module:
    """A 1x1 convolution to a width; nothing where the map has it already."""
    return nn.Identity() if in_channels == out_channels else Conv(in_channels, out_channels)


def _tunnel(in_channels: tuple[int, int], out_channels: int) -> nn.Module:
    if in_channels[0] != in_channels[1]:
        raise ConfigError(f"a tunnel adds maps of one width, got {in_channels[0]} and {in_channels[1]} channels")
    return Tunnel()


KINDS = {
    "GhostModule": Kind(_ghost_module),
    "GhostBottleneck": Kind(_ghost_bottleneck),
    "DFC": Kind(_dfc, keeps_channels=True),
    "PSA": Kind(_psa, keeps_channels=True),
    "DSConv": Kind(DSConv),
    "DSC3k2": Kind(DSC3k2, repeats=True, modern=True),
    "A2C2f": Kind(A2C2f, repeats=True, modern=True),
    "Fit": Kind(_fit),
    "HyperACE": Kind(HyperAce, inputs=3, repeats=True),
    "Tunnel": Kind(_tunnel, inputs=2, keeps_channels=True, spread=True),
}
BACKBONE, LEVEL = "Backbone", "Level"
NAMES = (BACKBONE, LEVEL, *KINDS)

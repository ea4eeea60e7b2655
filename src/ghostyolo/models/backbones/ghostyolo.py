"""The backbone of the ghostyolo family: GhostNetV3's modules where they pay (docs/design/family.md).

Two dense convolutions down to 1/4, since Ghost modules move more memory than they save there; then stages that halve
the map densely (or by a Ghost module), and Ghost bottlenecks, at every scale all at 1/16 and 1/32. Squeeze-excite and
the DFC gate only at 1/32, where they cost next to nothing; no gate in ``p``, where even that is felt.
Sources: GhostNetV3 (arXiv 2404.11202), GhostNetV2's gate (2211.12905).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ghostyolo.errors import ConfigError
from ghostyolo.models.registry import register_backbone
from ghostyolo.nn.reparam import RepConv
from ghostyolo.nn.slim import DenseStage, GhostStage, relu

DOWNSAMPLINGS = ("ghost", "dense")
_SCALES: dict[str, dict[str, Any]] = {
    "p": {"stem": (8, 16), "widths": (32, 64, 96), "depths": (0, 1, 1), "downsample": "dense", "attention": "none"},
    "n": {"stem": (16, 32), "widths": (48, 80, 160), "depths": (0, 2, 1), "downsample": "dense", "attention": "dfc"},
    "s": {"stem": (16, 48), "widths": (64, 128, 256), "depths": (0, 3, 3), "downsample": "dense", "attention": "dfc"},
    "m": {"stem": (24, 64), "widths": (96, 192, 384), "depths": (0, 4, 4), "downsample": "dense", "attention": "dfc"},
    "l": {"stem": (32, 96), "widths": (144, 288, 512), "depths": (0, 5, 5), "downsample": "dense", "attention": "dfc"},
    "x": {"stem": (48, 128), "widths": (192, 384, 704), "depths": (0, 6, 6), "downsample": "dense", "attention": "dfc"},
}


@register_backbone("ghostyolo", scales=_SCALES)
class GhostYoloBackbone(nn.Module):
    """Maps at strides 8, 16, 32.

    Args:
        stem: channels at 1/2 and 1/4.
        widths: channels at 1/8, 1/16, 1/32; multiples of 16 are fastest.
        depths: Ghost bottlenecks of each stage.
        expansions: of the Ghost bottlenecks of each stage.
        downsample: how stages halve the map: ``"ghost"``, a depthwise 3x3 and a Ghost module, or ``"dense"``, one 3x3.
        attention: gate of the first bottleneck at 1/32: ``"dfc"``, ``"psa"`` or ``"none"``.
        dense: stages of dense 3x3 convolutions instead, the control that Ghost modules are measured against.
        branches: of every convolution in training.
        dense_branches: the most that dense 3x3 convolutions after the first one have; default: as many as the others.

    Raises:
        ConfigError: another ``downsample``.
    """

    strides = (8, 16, 32)

    def __init__(
        self,
        *,
        in_channels: int = 3,
        stem: Sequence[int] = (16, 32),
        widths: Sequence[int] = (48, 112, 224),
        depths: Sequence[int] = (1, 3, 3),
        expansions: Sequence[float] = (2.0, 2.0, 3.0),
        downsample: str = "ghost",
        attention: str = "dfc",
        dense: bool = False,
        branches: int = 3,
        dense_branches: int | None = None,
    ) -> None:
        super().__init__()
        if downsample not in DOWNSAMPLINGS:
            raise ConfigError(f"backbone downsample '{downsample}': choose {' or '.join(DOWNSAMPLINGS)}")
        self.channels = tuple(widths)
        dense_branches = branches if dense_branches is None else min(branches, dense_branches)
        self.stem = nn.Sequential(
            RepConv(in_channels, stem[0], 3, 2, act=relu, branches=branches),
            RepConv(stem[0], stem[1], 3, 2, act=relu, branches=dense_branches),
        )
        stages: list[nn.Module] = []
        have = stem[1]
        for level, (width, depth, expansion) in enumerate(zip(widths, depths, expansions, strict=True)):
            last = level == len(widths) - 1
            stages.append(
                DenseStage(have, width, depth, dense_branches)
                if dense
                else GhostStage(
                    have,
                    width,
                    depth,
                    expansion=expansion,
                    squeeze_excite=last,
                    attention=attention if last else "none",
                    dense_downsample=downsample == "dense",
                    branches=branches,
                    dense_branches=dense_branches,
                )
            )
            have = width
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [self.stem(image)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

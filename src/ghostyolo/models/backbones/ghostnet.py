"""GhostNet V1, V2, V3 and V3-PSA as detection backbones and as classifiers.

Sources: arXiv 1911.11907 (table 1), 2211.12905, 2404.11202. Detection features are the outputs of the LAST block of the
stages at stride 8, 16 and 32, in which all blocks have run.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ghostyolo.errors import ConfigError
from ghostyolo.models.backbones.classifier_head import Classifier
from ghostyolo.models.registry import register_backbone
from ghostyolo.nn.channels import make_divisible
from ghostyolo.nn.ghost import GhostBottleneck
from ghostyolo.nn.reparam import ConvNorm

# kernel, expanded channels, output channels, squeeze-excite, stride; one tuple a block, one list a stage.
STAGES: list[list[tuple[int, int, int, bool, int]]] = [
    [(3, 16, 16, False, 1)],
    [(3, 48, 24, False, 2), (3, 72, 24, False, 1)],
    [(5, 72, 40, True, 2), (5, 120, 40, True, 1)],
    [
        (3, 240, 80, False, 2),
        (3, 200, 80, False, 1),
        (3, 184, 80, False, 1),
        (3, 184, 80, False, 1),
        (3, 480, 112, True, 1),
        (3, 672, 112, True, 1),
    ],
    [
        (5, 672, 160, True, 2),
        (5, 960, 160, False, 1),
        (5, 960, 160, True, 1),
        (5, 960, 160, False, 1),
        (5, 960, 160, True, 1),
    ],
]
# 1.0 and 1.3 are the papers' own; a detector's n has a backbone of about 1 M parameters, as YOLO's n has.
SCALES = {letter: {"width": width} for letter, width in zip("pnsmlx", (0.35, 0.5, 1.0, 1.3, 1.6, 2.0), strict=True)}
FIRST_GATED_BLOCK = 2  # V2 and V3 gate every bottleneck from the third on


class GhostNet(nn.Module):
    """A GhostNet backbone: stem and five stages.

    ``forward`` gives P3, P4, P5: (B, channels[i], H / strides[i], W / strides[i]).

    Args:
        width: multiplies every channel count, rounded to a multiple of 4. Named: 0.5, 1.0, 1.3, 1.6.
        attention: gate of the bottlenecks from the third on: ``"dfc"``, ``"psa"`` or ``"none"``.
        branches: training branches of each convolution (V3); None for plain conv + BN (V1, V2).
        in_channels: of the image.
        pointwise_branch: give depthwise convolutions the 1x1 branch beside the others, where they have branches.
    """

    strides = (8, 16, 32)

    def __init__(
        self,
        width: float = 1.0,
        attention: str = "dfc",
        branches: int | None = 3,
        in_channels: int = 3,
        pointwise_branch: bool = True,
    ) -> None:
        super().__init__()
        self.width = width
        if not width > 0 or make_divisible(16 * width, 4) < 4 or 16 * width < 2:
            raise ConfigError(f"backbone width {width} leaves no channels: choose at least 0.125")
        channels = make_divisible(16 * width, 4)
        self.stem = ConvNorm(in_channels, channels, 3, 2, act=lambda: nn.ReLU(inplace=True))
        self.stages = nn.ModuleList()
        ends = []
        index = 0
        for stage in STAGES:
            blocks = []
            for kernel, expanded, out, squeeze_excite, stride in stage:
                out_channels = make_divisible(out * width, 4)
                blocks.append(
                    GhostBottleneck(
                        channels,
                        make_divisible(expanded * width, 4),
                        out_channels,
                        kernel,
                        stride,
                        squeeze_excite,
                        attention if index >= FIRST_GATED_BLOCK else "none",
                        branches,
                        pointwise_branch,
                    )
                )
                channels = out_channels
                index += 1
            self.stages.append(nn.Sequential(*blocks))
            ends.append(channels)
        self.stage_channels = tuple(ends)
        self.channels = tuple(ends[2:])
        self.classifier_layers: dict[str, Any] = dict(last=make_divisible(960 * width, 4), hidden=1280)  # as published

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.stem(image)
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index >= 2:
                features.append(x)
        return features


class GhostNetClassifier(Classifier):
    """A GhostNet with the published head: widened, mean, 1280, linear."""

    def __init__(
        self,
        width: float = 1.0,
        attention: str = "dfc",
        branches: int | None = 3,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
    ) -> None:
        backbone = GhostNet(width, attention, branches, in_channels)
        super().__init__(backbone, **backbone.classifier_layers, num_classes=num_classes, dropout=dropout)


@register_backbone("ghostnetv1", scales=SCALES)
def ghostnetv1(*, width: float = 1.0, in_channels: int = 3) -> GhostNet:
    """GhostNet (CVPR 2020): no gate, plain convolutions."""
    return GhostNet(width, "none", None, in_channels)


@register_backbone("ghostnetv2", scales=SCALES)
def ghostnetv2(*, width: float = 1.0, in_channels: int = 3, attention: str = "dfc") -> GhostNet:
    """GhostNetV2 (NeurIPS 2022): DFC attention, plain convolutions."""
    return GhostNet(width, attention, None, in_channels)


@register_backbone("ghostnetv3", scales=SCALES)
def ghostnetv3(
    *,
    width: float = 1.0,
    in_channels: int = 3,
    branches: int = 3,
    attention: str = "dfc",
    pointwise_branch: bool = True,
) -> GhostNet:
    """GhostNetV3 (2024): V2's graph trained with re-parameterized branches."""
    return GhostNet(width, attention, branches, in_channels, pointwise_branch)


@register_backbone("ghostnetv3_psa", scales=SCALES)
def ghostnetv3_psa(
    *, width: float = 1.0, in_channels: int = 3, branches: int = 3, pointwise_branch: bool = True
) -> GhostNet:
    """GhostNetV3 with pixel-shuffle attention, a variant of ours, not the paper's."""
    return GhostNet(width, "psa", branches, in_channels, pointwise_branch)

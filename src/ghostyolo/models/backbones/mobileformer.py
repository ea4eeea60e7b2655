"""Mobile-Former: MobileNet and a few tokens side by side.

They are bridged both ways (CVPR 2022, arXiv 2108.05895).

Sizes by the multiply-adds of the published classifiers, in millions: 52, 96, 151, 214, 294, 508. (The 26 M one groups
its 1x1 convolutions and is not here.) Blocks: :mod:`ghostyolo.nn.mobileformer`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.models.backbones.classifier_head import Classifier, stage_states
from ghostyolo.models.registry import register_backbone
from ghostyolo.nn.mobileformer import LiteBottleneck, MapToTokens, MobileFormerBlock, MobileFormerDown, State
from ghostyolo.nn.reparam import ConvNorm


class Variant(NamedTuple):
    """One column of the paper's tables 1 and 8.

    Attributes:
        tokens, token_dim: T and D.
        stem: channels of the first convolution.
        lite: the lite bottleneck's expansion, output channels, stride.
        blocks: output channels, stride, expansion; a strided block has a second expansion.
        hidden: channels of the classifier's hidden layer.
    """

    tokens: int
    token_dim: int
    stem: int
    lite: tuple[int, int, int]
    blocks: list[tuple[int, ...]]
    hidden: int


VARIANTS = {
    "52m": Variant(
        3, 128, 8, (3, 12, 2),
        [(12, 1, 3), (24, 2, 6, 4), (24, 1, 3), (48, 2, 6, 4), (48, 1, 4), (64, 1, 6), (96, 2, 6, 4), (96, 1, 6)],
        1024,
    ),
    "96m": Variant(
        4, 128, 12, (2, 12, 1),
        [(16, 2, 6, 4), (32, 2, 6, 4), (32, 1, 3), (64, 2, 6, 4), (64, 1, 4), (88, 1, 6), (128, 2, 6, 4), (128, 1, 6)],
        1280,
    ),
    "151m": Variant(
        6, 192, 12, (2, 12, 1),
        [(16, 2, 6, 4), (16, 1, 3), (32, 2, 6, 4), (32, 1, 3), (64, 2, 6, 4), (64, 1, 4), (88, 1, 6), (88, 1, 6),
         (128, 2, 6, 4), (128, 1, 6), (128, 1, 6)],
        1280,
    ),
    "214m": Variant(
        6, 192, 12, (2, 12, 1),
        [(20, 2, 6, 4), (20, 1, 3), (40, 2, 6, 4), (40, 1, 4), (80, 2, 6, 4), (80, 1, 4), (112, 1, 6), (112, 1, 6),
         (160, 2, 6, 4), (160, 1, 6), (160, 1, 6)],
        1600,
    ),
    "294m": Variant(
        6, 192, 16, (2, 16, 1),
        [(24, 2, 6, 4), (24, 1, 4), (48, 2, 6, 4), (48, 1, 4), (96, 2, 6, 4), (96, 1, 4), (128, 1, 6), (128, 1, 6),
         (192, 2, 6, 4), (192, 1, 6), (192, 1, 6)],
        1920,
    ),
    "508m": Variant(
        6, 192, 24, (2, 24, 1),
        [(40, 2, 6, 4), (40, 1, 3), (72, 2, 6, 4), (72, 1, 3), (128, 2, 6, 4), (128, 1, 4), (176, 1, 6), (176, 1, 6),
         (240, 2, 6, 4), (240, 1, 6), (240, 1, 6)],
        1920,
    ),
}  # fmt: skip
SCALES = {
    letter: {"variant": variant}
    for letter, variant in {"p": "52m", "n": "96m", "s": "151m", "m": "294m", "l": "508m", "x": "508m"}.items()
}


class Start(nn.Module):
    """The first convolution, and the tokens of every picture.

    The tokens are learned. Image in, state out.
    """

    def __init__(self, in_channels: int, channels: int, tokens: int, token_dim: int) -> None:
        super().__init__()
        self.conv = ConvNorm(in_channels, channels, 3, 2, act=lambda: nn.ReLU6(inplace=True))
        self.tokens = nn.Parameter(torch.randn(tokens, token_dim))

    def forward(self, image: Tensor) -> State:
        return self.conv(image), self.tokens.repeat(image.shape[0], 1, 1)


class MobileFormer(nn.Module):
    """The Mobile-Former backbone: stem and five stages.

    ``forward`` gives P3, P4, P5: (B, channels[i], H / strides[i], W / strides[i]).

    Args:
        variant: ``"52m"`` to ``"508m"``.
        in_channels: of the image.
    """

    strides = (8, 16, 32)

    def __init__(self, variant: str = "294m", in_channels: int = 3) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ConfigError(f"backbone 'mobileformer' has no variant '{variant}': {suggest(str(variant), VARIANTS)}")
        sizes = VARIANTS[variant]
        self.stem = Start(in_channels, sizes.stem, sizes.tokens, sizes.token_dim)
        expansion, channels, stride = sizes.lite
        stages: list[list[nn.Module]] = [[]]
        self.stage_channels = [sizes.stem]

        def add(block: nn.Module, out_channels: int, stride: int) -> None:
            if stride == 2:
                stages.append([])
                self.stage_channels.append(0)
            stages[-1].append(block)
            self.stage_channels[-1] = out_channels

        add(LiteBottleneck(sizes.stem, channels, stride, expansion), channels, stride)
        for out_channels, stride, expansion, *second in sizes.blocks:
            block = (
                MobileFormerDown(channels, out_channels, expansion, second[0], sizes.token_dim)
                if second
                else MobileFormerBlock(channels, out_channels, expansion, sizes.token_dim)
            )
            add(block, out_channels, stride)
            channels = out_channels
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        self.channels = tuple(self.stage_channels[2:])

    def forward(self, image: Tensor) -> list[Tensor]:
        return [x for x, _ in stage_states(self, image)][2:]


class MobileFormerClassifier(Classifier):
    """The published classifier.

    Mean of a widened map beside the first token, hidden layer, linear.

    The token is given as channels of the map that are equal everywhere, so that the mean of :meth:`forward_features`
    holds both.
    """

    def __init__(
        self, variant: str = "294m", num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0
    ) -> None:
        backbone = MobileFormer(variant, in_channels)
        sizes = VARIANTS[variant]
        channels = backbone.channels[-1]
        super().__init__(
            backbone, last=6 * channels, act=lambda: nn.ReLU6(inplace=True), num_classes=0, dropout=dropout
        )
        self.map_channels = 6 * channels
        self.last_to_tokens = MapToTokens(channels, sizes.token_dim)
        self.num_features = self.map_channels + sizes.token_dim
        self.head_hidden_size = sizes.hidden
        self.hidden = nn.Linear(self.num_features, sizes.hidden)
        self.hidden_norm = nn.BatchNorm1d(sizes.hidden)
        self.num_classes = num_classes
        self.classifier = self._linear(num_classes)

    def finish(self, state: State) -> Tensor:
        x, tokens = state
        first = self.last_to_tokens(x, tokens)[:, 0, :, None, None]
        return torch.cat((self.last(x), first.expand(-1, -1, *x.shape[2:])), 1)

    def pool(self, features: Tensor) -> Tensor:
        mean = features.mean((2, 3))
        mean = torch.cat((F.hardswish(mean[:, : self.map_channels]), mean[:, self.map_channels :]), 1)
        return F.hardswish(self.hidden_norm(self.hidden(mean)))


@register_backbone("mobileformer", scales=SCALES)
def mobileformer(*, variant: str = "294m", in_channels: int = 3) -> MobileFormer:
    """Mobile-Former (CVPR 2022), by the multiply-adds of its classifier."""
    return MobileFormer(variant, in_channels)

"""A backbone with a classifier's last layers.

In this form the papers publish it, and it is pretrained.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ghostyolo.nn.reparam import Activation, ConvNorm


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def stage_states(backbone: Any, image: Tensor) -> Iterator[Any]:
    """Yield what a backbone's five stages give, at strides 2 to 32.

    Args:
        backbone: has a ``stem`` and ``stages``; what passes between them, its state, is a map or a tuple of a map and
            more.
    """
    state = backbone.stem(image)
    for stage in backbone.stages:
        state = stage(state)
        yield state


class Classifier(nn.Module):
    """Backbone, optional widening 1x1 convolution, mean, optional hidden layer, linear.

    Input (B, in_channels, H, W), output logits (B, num_classes).

    Args:
        backbone: see :func:`stage_states`; offers ``channels``. The last map is classified.
        last: channels of the 1x1 convolution before the mean; 0 for none.
        hidden: channels of the layer after the mean; 0 for none.
        act: activation of both.
        num_classes: 0 for the pooled features in place of logits.
        dropout: probability, before the last layer.
    """

    def __init__(
        self,
        backbone: Any,
        *,
        last: int = 0,
        hidden: int = 0,
        act: Activation = _relu,
        num_classes: int = 1000,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.backbone: Any = backbone
        channels: int = backbone.channels[-1]
        self.last: nn.Module = ConvNorm(channels, last, act=act) if last else nn.Identity()
        self.num_features = last or channels
        self.hidden: nn.Module = nn.Conv2d(self.num_features, hidden, 1) if hidden else nn.Identity()
        self.act = act() if hidden else nn.Identity()
        self.head_hidden_size = hidden or self.num_features
        self.dropout = nn.Dropout(dropout)
        self.num_classes = num_classes
        self.classifier: nn.Module = self._linear(num_classes)

    def _linear(self, num_classes: int) -> nn.Module:
        return nn.Linear(self.head_hidden_size, num_classes) if num_classes else nn.Identity()

    def forward_features(self, image: Tensor) -> Tensor:
        """The map that is pooled: (B, num_features, H / 32, W / 32)."""
        *_, state = stage_states(self.backbone, image)
        return self.finish(state)

    def finish(self, state: Any) -> Tensor:
        """From the last state of the backbone to the map that is pooled."""
        return self.last(state)

    def pool(self, features: Tensor) -> Tensor:
        """From the map to (B, head_hidden_size)."""
        return torch.flatten(self.act(self.hidden(features.mean((2, 3), keepdim=True))), 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.pool(self.forward_features(image))))

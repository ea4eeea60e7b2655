"""The blocks of Mobile-Former: a convolutional path and a few global tokens.

The two talk in every block. Source: arXiv 2108.05895.

Maps are (B, C, H, W), tokens (B, T, D). Section 3.2 of the paper gives the four parts of a block (Mobile, Former and
the two bridges) and their order: map -> tokens, tokens among themselves, convolutions steered by the first token,
tokens -> map. The bridges project only the tokens, never the map. As in the authors' release, keys and values of the
tokens' own attention are the tokens themselves, layer norms come after the sum, and what the tokens take from the map
is weighed by a gate of theirs; the published parameter counts hold with the gate.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ghostyolo.nn.reparam import ConvNorm

BRIDGE_HEADS = 2
TOKEN_HEADS = 4
State = tuple[Tensor, Tensor]  # a map and the tokens


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) to (B, heads, N, C / heads)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of (B, heads, N, c) on (B, heads, M, c), scaled by 1 / sqrt(c), heads joined: (B, N, heads c)."""
    weights = (query @ key.transpose(2, 3)) / math.sqrt(query.shape[-1])
    return (weights.softmax(-1) @ value).transpose(1, 2).flatten(2)


class MapToTokens(nn.Module):
    """Each token looks at every pixel: map and tokens in, tokens out."""

    def __init__(self, channels: int, token_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(token_dim, channels)
        self.gate = nn.Linear(token_dim, channels)
        self.project = nn.Linear(channels, token_dim)
        self.norm = nn.LayerNorm(token_dim)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        pixels = _split_heads(x.flatten(2).transpose(1, 2), BRIDGE_HEADS)
        seen = _attend(_split_heads(self.query(tokens), BRIDGE_HEADS), pixels, pixels)
        return self.norm(tokens + self.project(seen * 2 * F.hardsigmoid(self.gate(tokens))))


class TokenMixer(nn.Module):
    """The tokens look at each other (Former).

    Attention, then a two-layer perceptron; layer norm after each. Tokens in and out.
    """

    def __init__(self, token_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(token_dim, token_dim)
        self.project = nn.Linear(token_dim, token_dim)
        self.norm = nn.LayerNorm(token_dim)
        self.mlp = nn.Sequential(nn.Linear(token_dim, 2 * token_dim), nn.GELU(), nn.Linear(2 * token_dim, token_dim))
        self.mlp_norm = nn.LayerNorm(token_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        own = _split_heads(tokens, TOKEN_HEADS)
        tokens = self.norm(tokens + self.project(_attend(_split_heads(self.query(tokens), TOKEN_HEADS), own, own)))
        return self.mlp_norm(tokens + self.mlp(tokens))


class TokensToMap(nn.Module):
    """Each pixel looks at every token: map and tokens in, map out."""

    def __init__(self, channels: int, token_dim: int) -> None:
        super().__init__()
        self.key = nn.Linear(token_dim, channels)
        self.value = nn.Linear(token_dim, channels)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        key, value = (_split_heads(layer(tokens), BRIDGE_HEADS) for layer in (self.key, self.value))
        seen = _attend(_split_heads(x.flatten(2).transpose(1, 2), BRIDGE_HEADS), key, value)
        return x + seen.transpose(1, 2).unflatten(2, x.shape[2:])


class TokenReLU(nn.Module):
    """A dynamic ReLU whose slopes come from the first token.

    Two slopes a channel, max(a x, b x) (arXiv 2003.10027).

    a is 1 +- 1, b is 0 +- 1. Map and tokens in, map out.
    """

    def __init__(self, channels: int, token_dim: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(token_dim, token_dim // 4)
        self.expand = nn.Linear(token_dim // 4, 2 * channels)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        slopes = F.hardsigmoid(self.expand(F.relu(self.reduce(tokens[:, 0])))) * 2 - 1
        high, low = slopes[:, :, None, None].chunk(2, 1)
        return torch.maximum(x * (high + 1), x * low)


class LiteBottleneck(nn.Module):
    """Depthwise 3x3 that widens, ReLU6, linear 1x1 (MicroNet's, arXiv 2108.05894); the tokens pass by."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.widen = ConvNorm(in_channels, wide, 3, stride, in_channels, act=lambda: nn.ReLU6(inplace=True))
        self.project = ConvNorm(wide, out_channels)
        self.identity = stride == 1 and in_channels == out_channels

    def forward(self, state: State) -> State:
        x, tokens = state
        y = self.project(self.widen(x))
        return (x + y if self.identity else y), tokens


class MobileFormerBlock(nn.Module):
    """An inverted bottleneck with tokens around it; identity where the width stays.

    State in, state out: (B, C_in, H, W) to (B, C_out, H, W), tokens (B, T, D).
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int, token_dim: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.to_tokens = MapToTokens(in_channels, token_dim)
        self.former = TokenMixer(token_dim)
        self.expand = ConvNorm(in_channels, wide)
        self.expand_act = TokenReLU(wide, token_dim)
        self.depthwise = ConvNorm(wide, wide, 3, groups=wide)
        self.depthwise_act = TokenReLU(wide, token_dim)
        self.project = ConvNorm(wide, out_channels)
        self.to_map = TokensToMap(out_channels, token_dim)
        self.identity = in_channels == out_channels

    def forward(self, state: State) -> State:
        x, tokens = state
        tokens = self.former(self.to_tokens(x, tokens))
        y = self.depthwise_act(self.depthwise(self.expand_act(self.expand(x), tokens)), tokens)
        y = self.project(y)
        return self.to_map(x + y if self.identity else y, tokens), tokens


class MobileFormerDown(nn.Module):
    """The block that halves the map.

    Two lite bottlenecks, the first strided, the second with an identity around it.

    State in, state out: (B, C_in, H, W) to (B, C_out, H / 2, W / 2), tokens (B, T, D).
    """

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, second_expansion: int, token_dim: int
    ) -> None:
        super().__init__()
        wide, second_wide = in_channels * expansion, out_channels * second_expansion
        self.to_tokens = MapToTokens(in_channels, token_dim)
        self.former = TokenMixer(token_dim)
        self.widen = ConvNorm(in_channels, wide, 3, 2, in_channels)
        self.widen_act = TokenReLU(wide, token_dim)
        self.project = ConvNorm(wide, out_channels)
        self.second_widen = ConvNorm(out_channels, second_wide, 3, groups=out_channels)
        self.second_widen_act = TokenReLU(second_wide, token_dim)
        self.second_project = ConvNorm(second_wide, out_channels)
        self.to_map = TokensToMap(out_channels, token_dim)

    def forward(self, state: State) -> State:
        x, tokens = state
        tokens = self.former(self.to_tokens(x, tokens))
        x = self.project(self.widen_act(self.widen(x), tokens))
        x = x + self.second_project(self.second_widen_act(self.second_widen(x), tokens))
        return self.to_map(x, tokens), tokens

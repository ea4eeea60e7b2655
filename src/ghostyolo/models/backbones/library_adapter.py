"""One adapter that makes any chain-like network of another library a backbone.

Only the modules that run are kept, under the library's own names, so its weights files fit (``net.`` before each name)
and nothing is counted or trained that does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ghostyolo.errors import ConfigError
from ghostyolo.models.backbones.stage_ends import PROBE_HEIGHT, PROBE_WIDTH, Link, find_stage_ends, probe_image

STRIDES = (8, 16, 32)
EXAMPLES = "mobilenetv2, mobilenetv3, mobilenetv4, resnet50, shufflenetv2"


class LibraryBackbone(nn.Module):
    """Modules of another library's network, up to stride 32.

    They run one after the other.

    ``forward`` gives P3, P4, P5: (B, channels[i], H / strides[i], W / strides[i]), each the output of the last block
    of its stride. H and W must be multiples of 32.

    Args:
        net: the whole network; its modules are taken, not copied.
        chain: the links of it that run.
        ends: index in ``chain`` of the last link of each stride.
    """

    strides = STRIDES
    library: tuple[str, str] | None = None  # which one, and the network's name there

    def __init__(self, net: nn.Module, chain: Sequence[Link], ends: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(chain[end].channels for end in ends)
        self.overwritten = tuple(chain[end].overwritten for end in ends)
        starts = [0, *(end + 1 for end in ends)]
        self.paths = tuple(
            tuple(link.path for link in chain[start : end + 1]) for start, end in zip(starts, ends, strict=False)
        )
        self.net = nn.Module()
        for path in (path for paths in self.paths for path in paths):
            _place(self.net, path, net.get_submodule(path))

    @property
    def first_convolution(self) -> str:
        """Name, in ``net``, of the convolution that takes the image."""
        return next(path for path, part in self.net.named_modules() if isinstance(part, nn.Conv2d))

    def forward(self, image: Tensor) -> list[Tensor]:
        x, features = image, []
        for paths, overwritten in zip(self.paths, self.overwritten, strict=True):
            for path in paths:
                x = self.net.get_submodule(path)(x)
            features.append(x.clone() if overwritten else x)
        return features


class FeatureList(nn.Module):
    """A network that is no chain, by its library's own extractor.

    It gives the three maps as the library defines them.

    Args:
        net: gives a list of the maps at strides 8, 16, 32.
        channels: of the three.
        channels_last: the maps are (B, H, W, C).
    """

    strides = STRIDES
    library: tuple[str, str] | None = None

    def __init__(self, net: nn.Module, channels: Sequence[int], channels_last: bool) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.channels_last = channels_last
        self.net = net

    def forward(self, image: Tensor) -> list[Tensor]:
        features = self.net(image)
        return [x.permute(0, 3, 1, 2) for x in features] if self.channels_last else list(features)


def adapt(net: nn.Module, what: str, in_channels: int) -> LibraryBackbone | None:
    """Return the network as a backbone.

    It is None where it is no chain up to the end of stride 32.

    Args:
        what: library and name, for messages.

    Raises:
        ConfigError: it cannot take pictures of any multiple of 32.
    """
    with _any_size(what):
        chain = find_stage_ends(net, in_channels, STRIDES)
    return None if chain is None else LibraryBackbone(net, *chain)


def wrap(net: nn.Module, channels: Sequence[int], what: str, in_channels: int) -> FeatureList:
    """An extractor of maps at strides 8, 16, 32 as a backbone.

    Parameters that only make other maps (HRNet's at stride 4) are frozen: no gradient would ever reach them.

    Raises:
        ConfigError: its maps are not exactly (H / s, W / s).
    """
    sizes = [(PROBE_HEIGHT // stride, PROBE_WIDTH // stride) for stride in STRIDES]
    with _any_size(what):
        maps = net(probe_image(net, in_channels))
    shapes = [tuple(x.shape[1:]) for x in maps]
    channels_last = shapes == [(*size, count) for size, count in zip(sizes, channels, strict=True)]
    if not channels_last and shapes != [(count, *size) for size, count in zip(sizes, channels, strict=True)]:
        raise ConfigError(
            f"backbone {what} makes maps of {shapes} from a picture of {PROBE_HEIGHT} x {PROBE_WIDTH}, where necks "
            f"need exactly {sizes}: choose another, such as {EXAMPLES}"
        )
    torch.stack([x.sum() for x in maps]).sum().backward()
    for parameter in net.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None
    return FeatureList(net, channels, channels_last)


@contextmanager
def _any_size(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # networks fail on a size in every way: assertions, shape errors, unpacking
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(
            f"backbone {what} cannot take a picture of {PROBE_HEIGHT} x {PROBE_WIDTH} ({reason}); a detector's must "
            f"take any multiple of 32: choose a convolutional one, such as {EXAMPLES}"
        ) from error


def refuse(what: str) -> ConfigError:
    """The error for a network without the maps that necks join."""
    return ConfigError(
        f"backbone {what} has no maps of exactly 1/8, 1/16 and 1/32 of the picture's height and width, which necks "
        f"need: choose another, such as {EXAMPLES}"
    )


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    root.add_module(name, module)

"""Where the strides of a network end, on networks small enough to know by heart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ghostyolo.models.backbones.library_adapter import adapt
from ghostyolo.models.backbones.stage_ends import find_stage_ends

STRIDES = (8, 16, 32)


def down(channels: int, out: int, factor: int = 2) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, factor, 1)


class Chain(nn.Module):
    """Stem to stride 4, three strided blocks, and whatever follows."""

    def __init__(self, *tail: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(down(3, 4), nn.ReLU(), down(4, 4))
        self.body = nn.Sequential(down(4, 8), down(8, 16), down(16, 32))
        self.tail = nn.ModuleList(tail)

    def forward(self, image: Tensor) -> Tensor:
        x = self.body(self.stem(image))
        for layer in self.tail:
            x = layer(x)
        return x


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


def ends(net: nn.Module) -> list[tuple[str, int]] | None:
    found = find_stage_ends(net, 3, STRIDES)
    return None if found is None else [(found[0][index].path, found[0][index].channels) for index in found[1]]


def widen() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(32, 128, 1), nn.BatchNorm2d(128), nn.ReLU())


def test_a_sequence_of_several_strides_is_opened():
    assert ends(Chain()) == [("body.0", 8), ("body.1", 16), ("body.2", 32)]


def test_blocks_and_norms_after_the_last_stride_belong_to_it():
    net = Chain(nn.BatchNorm2d(32), nn.Conv2d(32, 40, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert ends(net)[-1] == ("tail.2", 40)


def test_a_widening_convolution_and_all_after_it_is_cut_off():
    assert ends(Chain(widen(), nn.AdaptiveAvgPool2d(1)))[-1] == ("body.2", 32)
    assert ends(Chain(nn.Sequential(widen(), nn.Conv2d(128, 128, 1)), nn.AdaptiveAvgPool2d(1)))[-1] == ("body.2", 32)


def test_a_block_of_1x1_convolutions_with_a_shortcut_is_no_head():
    assert ends(Chain(Residual(32), widen()))[-1] == ("tail.0", 32)


def test_a_strided_1x1_convolution_makes_its_stride():
    net = Chain()
    net.body[2] = nn.Conv2d(16, 32, 1, 2)
    assert ends(net)[-1] == ("body.2", 32)


class Broken(Chain):
    """Something that is no module happens at stride 32, and filtering goes on."""

    def forward(self, image: Tensor) -> Tensor:
        return self.tail[0](self.body(self.stem(image)) * 2)


class Repeated(Chain):
    """A module that runs twice is no link."""

    def forward(self, image: Tensor) -> Tensor:
        return self.body(self.stem(image)).add(self.stem(image).mean())


def test_a_network_that_is_no_chain_to_its_end_is_not_cut_short():
    assert ends(Broken(nn.Conv2d(32, 32, 3, 1, 1))) is None
    assert ends(Repeated()) is None


class InPlace(Chain):
    """An activation that is no module writes into the output of one: the same object, another value."""

    def forward(self, image: Tensor) -> Tensor:
        return self.tail[0](self.body(self.stem(image)).relu_())


def test_a_function_in_place_breaks_the_chain_though_the_object_is_the_same():
    assert ends(InPlace(nn.Conv2d(32, 32, 3, 1, 1))) is None


class Overwriting(nn.Module):
    """A block that begins in place."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = down(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x.mul_(0))


def test_a_map_that_the_next_block_overwrites_is_kept_as_it_was():
    net = Chain().eval()
    net.body[1] = Overwriting()
    backbone = adapt(net, "test", 3)
    assert backbone.overwritten == (True, False, False)
    image = torch.rand(1, 3, 32, 64)
    first, second, _ = backbone(image)
    torch.testing.assert_close(first, net.body[0](net.stem(image)))
    assert first.abs().sum() > 0
    assert second.std(dim=(2, 3)).max() < 1e-6  # what it made of zeros


def test_what_follows_the_chain_without_filtering_does_not_matter():
    assert ends(Broken(nn.Conv2d(32, 128, 1)))[-1] == ("body.2", 32)


def test_sizes_that_are_not_exact_are_no_stride():
    net = Chain()
    net.body[2] = nn.Conv2d(16, 32, 3, 2)  # 6 x 10 to 2 x 4, where H / 32 is 3 x 5
    assert ends(net) is None


def test_modes_are_left_as_they_were_and_no_statistic_moves():
    net = Chain(nn.BatchNorm2d(32), nn.Dropout())
    net.tail[1].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    find_stage_ends(net, 3, STRIDES)
    assert net.training
    assert net.body[0].training
    assert not net.tail[1].training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())

"""Maps in parts: equal answers, concatenations gone, and what does not fit left as it was."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ghostyolo.export.rewrite.concatenations import in_parts
from ghostyolo.nn.attention import DfcGate, SqueezeExcite
from ghostyolo.nn.blocks import DSC3k2
from ghostyolo.nn.csp import Sppf
from ghostyolo.nn.ghost import GhostBottleneck
from ghostyolo.nn.reparam import fold
from tests.export.rewrite.graphs import captured, largest_difference, noise, operators, randomised, round_trip


class Net(nn.Module):
    """A function with layers."""

    def __init__(self, run, **layers):
        super().__init__()
        self.run, self.layers = run, nn.ModuleDict(layers)

    def forward(self, x):
        return self.run(x, **self.layers)


@pytest.mark.parametrize("block", [1, 8, 16])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [(12, 20, 12), (5, 14, 7)])  # the second has halves of unequal size
def test_ghost_bottlenecks_are_equal_without_concatenation(block, stride, channels):
    enter, expanded, out = channels
    body = nn.Sequential(
        nn.Conv2d(3, enter, 1),
        GhostBottleneck(enter, expanded, out, 3, stride, squeeze_excite=True, attention="dfc"),
        GhostBottleneck(out, expanded, out, 5, 1, attention="none"),
        nn.Conv2d(out, 4, 3, padding=1),
    )
    net, images = fold(randomised(body)), noise(2, 3, 10, 14)
    module, report = in_parts(captured(net, images), block)
    assert operators(module)["cat"] == 0
    assert not report.kept
    assert largest_difference(net, module, images) < 1e-9
    assert round_trip(net, module, images) < 1e-9
    padded = {name for name in report.done if "padded" in name[0]}
    assert bool(padded) == (block > 1)


@pytest.mark.parametrize("make", [lambda: DSC3k2(16, 16, 2, nested=True), lambda: Sppf(16, 12)])
def test_blocks_that_split_and_gather_are_equal(make):
    middle = make()
    channels = middle(torch.rand(1, 16, 4, 4)).shape[1]
    net = fold(randomised(nn.Sequential(nn.Conv2d(3, 16, 1), middle, nn.Conv2d(channels, 5, 1))))
    images = noise(1, 3, 9, 8)
    module, _ = in_parts(captured(net, images))
    assert operators(module)["cat"] == operators(module)["slice"] == 0
    assert largest_difference(net, module, images) < 1e-9


def test_a_1x1_goes_ahead_of_the_upsampling_of_one_part():
    def run(x, coarse, fine, exit):
        up = F.interpolate(coarse(x), scale_factor=2.0, mode="nearest")
        return exit(torch.cat((up, fine(x)), 1))

    net = Net(run, coarse=nn.Conv2d(3, 8, 3, 2, 1), fine=nn.Conv2d(3, 6, 1), exit=nn.Conv2d(14, 8, 1))
    net, images = randomised(net), noise(2, 3, 8, 12)
    module, report = in_parts(captured(net, images))
    assert report.done["1x1 moved ahead of an upsampling", "1x1 moved ahead of upsamplings"] == 1
    widths = [node.meta["val"].shape[1] for node in module.graph.nodes if "upsample" in str(node.target)]
    assert widths == [8]
    assert largest_difference(net, module, images) < 1e-9


def test_open_sizes_stay_open():
    body = nn.Sequential(nn.Conv2d(3, 12, 1), GhostBottleneck(12, 20, 12, attention="dfc"), nn.Conv2d(12, 2, 1))
    net = fold(randomised(body))
    rows, columns = (torch.export.Dim(name, min=2, max=64) for name in ("rows", "columns"))
    module, _ = in_parts(captured(net, noise(2, 3, 12, 8), ({2: 2 * rows, 3: 2 * columns},)), 8)
    assert operators(module)["cat"] == 0
    for size in ((4, 4), (20, 6)):
        assert largest_difference(net, module, noise(2, 3, *size)) < 1e-9


def test_a_map_that_comes_in_one_piece_keeps_its_concatenation_and_is_reported():
    def run(x, first, second, exit):
        both = torch.cat((first(x), second(x)), 1)
        return exit(both * both.softmax(1))

    net = randomised(Net(run, first=nn.Conv2d(3, 4, 1), second=nn.Conv2d(3, 4, 1), exit=nn.Conv2d(8, 2, 1)))
    images = noise(1, 3, 5, 5)
    module, report = in_parts(captured(net, images), 16)
    assert operators(module)["cat"] == 1
    assert list(report.kept) == ["what it meets comes in one piece"]
    assert largest_difference(net, module, images) == 0


def test_grouped_convolutions_get_the_whole_map():
    def run(x, first, second, grouped):
        return grouped(torch.cat((first(x), second(x)), 1))

    net = Net(run, first=nn.Conv2d(3, 4, 1), second=nn.Conv2d(3, 4, 1), grouped=nn.Conv2d(8, 8, 3, groups=2))
    net, images = randomised(net), noise(1, 3, 5, 5)
    module, report = in_parts(captured(net, images), 16)
    assert operators(module)["cat"] == 1
    assert "some reader needs the whole map" in report.kept
    assert largest_difference(net, module, images) == 0


def test_an_answer_that_is_a_concatenation_is_whole_and_unpadded():
    def run(x, first, second):
        return torch.cat((first(x), second(x).relu()), 1)

    net, images = randomised(Net(run, first=nn.Conv2d(3, 5, 1), second=nn.Conv2d(3, 6, 1))), noise(1, 3, 4, 4)
    module, _ = in_parts(captured(net, images), 16)
    assert largest_difference(net, module, images) == 0


def test_products_with_one_number_a_channel_and_with_one_for_all():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.exit = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 7, 1), nn.Conv2d(12, 2, 3)
            self.each, self.all = nn.Parameter(torch.ones(12)), nn.Parameter(torch.ones(()))
            self.row = nn.Parameter(torch.ones(1, 12, 1, 1))

        def forward(self, x):
            both = torch.cat((self.first(x), self.second(x)), 1)
            return self.exit(both * self.row * self.all + self.each.view(1, -1, 1, 1) * 2)

    net, images = randomised(Scaled()), noise(1, 3, 6, 6)
    module, _ = in_parts(captured(net, images), 8)
    assert largest_difference(net, module, images) < 1e-12


def test_gates_alone():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 6, 1)
            self.gate, self.weigh, self.exit = DfcGate(3, 11), SqueezeExcite(11), nn.Conv2d(11, 4, 1)

        def forward(self, x):
            return self.exit(self.weigh(self.gate(x, torch.cat((self.first(x), self.second(x)), 1))))

    net = fold(randomised(Gated()))
    for size in ((7, 9), (1, 6)):  # odd sides; a single row, which the gate does not halve
        images = noise(1, 3, *size)
        module, report = in_parts(captured(net, images), 8)
        assert operators(module)["cat"] == 0
        assert not report.kept
        assert largest_difference(net, module, images) < 1e-9


def test_a_network_without_concatenation_is_left_alone():
    net, images = randomised(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))), noise(1, 3, 4, 4)
    module, report = in_parts(captured(net, images))
    assert report.line() == "parts: nothing to do"
    assert largest_difference(net, module, images) == 0

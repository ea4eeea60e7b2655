"""The smaller passes: each equal, each leaving alone what it does not fit."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ghostyolo.export.rewrite.anchors_last import anchors_last
from ghostyolo.export.rewrite.ghost_modules import with_twins
from ghostyolo.export.rewrite.hypergraph import with_deployed_hypergraphs
from ghostyolo.export.rewrite.plain import plain
from ghostyolo.export.rewrite.program import as_module, capture
from ghostyolo.export.rewrite.rewriter import rewrite
from ghostyolo.export.rewrite.upsampling import upsample_late
from ghostyolo.nn.ghost import GhostModule
from ghostyolo.nn.hypergraph import HypergraphConv
from ghostyolo.nn.reparam import fold
from tests.export.rewrite.graphs import captured, largest_difference, noise, operators, randomised, round_trip
from tests.export.rewrite.test_parts import Net


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("act", [None, nn.ReLU])
def test_small_ghost_modules_become_twins(kernel, act):
    net = fold(randomised(nn.Sequential(GhostModule(3, 8, kernel, act=act), nn.Conv2d(8, 4, 1))))
    images = noise(2, 3, 7, 6)
    module, report = with_twins(captured(net, images), 8)
    assert sum(report.done.values()) == 1
    assert operators(module)["cat"] == 0
    assert operators(module)["conv2d"] == 3
    assert largest_difference(net, module, images) < 1e-12
    assert round_trip(net, module, images) < 1e-12


@pytest.mark.parametrize(
    "ghost",
    [
        GhostModule(3, 10),  # too wide
        GhostModule(3, 7),  # unequal halves
        GhostModule(3, 8, act=nn.SiLU),  # SiLU of SiLU is not SiLU
    ],
    ids=["wide", "odd", "silu"],
)
def test_other_ghost_modules_are_no_twins(ghost):
    net, images = fold(randomised(nn.Sequential(ghost))), noise(1, 3, 6, 6)
    module, report = with_twins(captured(net, images), 8)
    assert not report.done
    assert largest_difference(net, module, images) == 0


@pytest.mark.parametrize(("channels", "hyperedges", "heads"), [(16, 4, 1), (32, 3, 2)])
def test_hypergraph_convolutions_are_equal(channels, hyperedges, heads):
    net = randomised(nn.Sequential(nn.Conv2d(3, channels, 1), HypergraphConv(channels, hyperedges, heads)))
    images = noise(2, 3, 5, 6)
    made, report = with_deployed_hypergraphs(net)
    assert sum(report.done.values()) == 1
    assert isinstance(net[1], HypergraphConv)  # the given network is as it was
    assert largest_difference(net, made, images) < 1e-9
    module = captured(made, images)
    assert operators(module)["linear"] == 2  # context and edges: the two over tokens are gone


def test_a_network_without_hypergraph_is_itself():
    net = nn.Conv2d(3, 4, 1)
    made, report = with_deployed_hypergraphs(net)
    assert made is net
    assert report.line() == "hypergraph: nothing to do"


def test_what_acts_on_single_pixels_goes_ahead_of_upsampling():
    def run(x, first, point, wide, dense):
        up = F.interpolate(first(x), scale_factor=2.0, mode="nearest")
        return dense(F.silu(point(up)) * 0.5 + 1), wide(up)

    layers = {"first": nn.Conv2d(3, 8, 1), "point": nn.Conv2d(8, 4, 1), "wide": nn.Conv2d(8, 9, 1)}
    net, images = randomised(Net(run, dense=nn.Conv2d(4, 2, 3), **layers)), noise(1, 3, 4, 5)
    module, report = upsample_late(captured(net, images))
    assert sum(report.done.values()) == 4  # the 1x1, the activation, the product and the sum; not the one that widens
    assert largest_difference(net, module, images) < 1e-12
    early = [node for node in module.graph.nodes if "silu" in str(node.target)]
    assert [tuple(node.meta["val"].shape) for node in early] == [(1, 4, 4, 5)]


def test_a_size_that_is_always_a_multiple_is_said_as_one():
    def run(x, first):
        return F.interpolate(F.avg_pool2d(first(x), 2), size=x.shape[-2:], mode="nearest")

    net = randomised(Net(run, first=nn.Conv2d(3, 3, 1)))
    rows, columns = (torch.export.Dim(name, min=2, max=64) for name in ("rows", "columns"))
    opened = captured(net, noise(2, 3, 12, 8), ({2: 2 * rows, 3: 2 * columns},))
    module, report = upsample_late(opened)
    assert report.line() == "upsampling: 1 upsampling by a fixed multiple"
    assert set(operators(module)) == {"conv2d", "avg_pool2d", "upsample_nearest2d"}
    for size in ((4, 4), (20, 6)):
        assert largest_difference(net, module, noise(2, 3, *size)) == 0


def test_a_size_that_is_no_multiple_stays():
    def run(x, first):
        return F.interpolate(F.avg_pool2d(first(x), 2), size=x.shape[-2:], mode="nearest")

    net, images = randomised(Net(run, first=nn.Conv2d(3, 3, 1))), noise(1, 3, 7, 9)
    module, report = upsample_late(captured(net, images))
    assert not report.done
    assert largest_difference(net, module, images) == 0


def test_sums_of_two_maps_stay_behind_upsampling():
    def run(x, first):
        return F.interpolate(first(x), scale_factor=2.0, mode="nearest") + F.interpolate(x, scale_factor=2.0)

    net, images = randomised(Net(run, first=nn.Conv2d(3, 3, 1))), noise(1, 3, 4, 4)
    module, report = upsample_late(captured(net, images))
    assert not report.done
    assert largest_difference(net, module, images) == 0


def test_anchors_are_turned_level_by_level():
    def run(x, first, second):
        maps = [first(x), second(x)]
        return torch.cat([one.flatten(2) for one in maps], 2).transpose(1, 2).sigmoid()

    net = randomised(Net(run, first=nn.Conv2d(3, 5, 1), second=nn.Conv2d(3, 5, 1, 2)))
    images = noise(2, 3, 4, 6)
    module, report = anchors_last(captured(net, images))
    assert sum(report.done.values()) == 1
    assert operators(module)["transpose"] == 0
    assert largest_difference(net, module, images) < 1e-15


def test_a_set_of_maps_that_another_reads_as_it_is_stays():
    def run(x, first):
        flat = torch.cat([first(x).flatten(2), x.flatten(2)], 2)
        return flat.transpose(1, 2), flat.sum(2)

    net, images = randomised(Net(run, first=nn.Conv2d(3, 3, 1))), noise(1, 3, 4, 4)
    module, report = anchors_last(captured(net, images))
    assert not report.done
    assert largest_difference(net, module, images) == 0


def test_plain_graphs_write_nothing_in_place_and_have_slices_for_chunks():
    def run(x, first, act):
        one, two = act(first(x)).chunk(2, 1)
        return one * two

    net, images = randomised(Net(run, first=nn.Conv2d(3, 6, 1), act=nn.ReLU(inplace=True))), noise(1, 3, 4, 4)
    module, _ = plain(as_module(capture(net, images)))
    assert set(operators(module)) == {"conv2d", "relu", "slice", "mul"}
    assert largest_difference(net, module, images) == 0


def test_what_is_written_into_a_map_that_others_read_is_left_and_reported():
    def run(x, first):
        y = first(x)
        seen = y[:, 1:4]
        return y.relu_().sum() + seen

    net, images = randomised(Net(run, first=nn.Conv2d(3, 6, 1))), noise(1, 3, 4, 4)
    module, report = plain(as_module(capture(net, images)))
    assert list(report.kept) == ["writes into a map that others read"]
    assert largest_difference(net, module, images) == 0
    everything = rewrite(net, images)
    assert [one.name for one in everything.reports] == ["hypergraph", "plain"]
    assert largest_difference(net, everything.module, images) == 0

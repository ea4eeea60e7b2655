"""The ghostyolo family: shapes, folding, gradients, sizes, the form without NMS."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError
from ghostyolo.losses.registry import build_criterion
from ghostyolo.models import build_model
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.costs import counted_row
from ghostyolo.models.count import count_parameters
from ghostyolo.models.detector import fill_in
from ghostyolo.models.names import list_models, zoo_config
from ghostyolo.models.scales import LETTERS
from ghostyolo.nn.reparam import RepConv, fold
from tests.models.test_ghostnet import scramble_norms


def small(name: str = "ghostyolo-p", **options) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, num_classes=3, **options)


def test_every_scale_is_a_model_and_larger_ones_cost_more():
    assert {f"ghostyolo-{letter}" for letter in LETTERS} <= set(list_models())
    figures = [counted_row(f"ghostyolo-{letter}", 640, 80) for letter in LETTERS]  # tests/cli/test_models.py counts
    for key in ("params_deployed_m", "flops_g"):
        values = [figure[key] for figure in figures]
        assert values == sorted(values)
        assert len(set(values)) == len(values)


def test_widths_are_multiples_of_16_at_every_scale_and_between():
    for size in (*LETTERS, 0.5, 1.3, 2.7):
        config = fill_in(zoo_config(f"ghostyolo@{size}"))
        for part in (config.backbone, config.neck):
            assert all(width % 16 == 0 for width in part.params["widths"])


@pytest.mark.parametrize(("height", "width"), [(64, 96), (32, 32)])
def test_decodes_one_box_for_each_cell_of_three_levels(height, width):
    boxes, scores = small().eval()(torch.rand(2, 3, height, width))
    cells = sum(height // stride * (width // stride) for stride in (8, 16, 32))
    assert boxes.shape == (2, cells, 4)
    assert scores.shape == (2, cells, 3)
    assert torch.isfinite(boxes).all()


@pytest.mark.parametrize("name", ["ghostyolo-p", "ghostyolo-n", "ghostyolo-p-e2e"])
def test_folded_it_gives_the_same_answers_without_a_container(name):
    model = small(name).double()
    scramble_norms(model)
    model.eval()
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, folded = model(images), fold(model)
        given = folded(images)
    for ours, theirs in zip(given, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-9 * max(1, theirs.abs().max())
    assert not any(isinstance(module, (RepConv, nn.BatchNorm2d)) for module in folded.modules())


@pytest.mark.parametrize(("downsample", "dense"), [("dense", True), ("ghost", False)])
def test_maps_are_halved_densely_or_by_ghosts(downsample, dense):
    model = small(downsample=downsample)
    halving = [
        module.branches[0].conv
        for stage in model.backbone.stages
        for module in stage.modules()
        if isinstance(module, RepConv) and module.branches[0].conv.stride == (2, 2)
    ]
    assert [conv.groups == 1 for conv in halving] == [dense] * 3


def test_a_declaration_that_does_not_say_dense_is_all_ghost():
    # Weights files that were written before there was a choice rely on it.
    parts = {"backbone": {"type": "ghostyolo"}, "neck": {"type": "slim_hypergraph"}, "head": {"type": "light"}}
    model = build_model(DetectorConfig.from_dict(parts, "tests"), num_classes=3)
    dense = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.kernel_size == (3, 3)
    ]
    assert {name.split(".branches")[0] for name in dense} == {"backbone.stem.0", "backbone.stem.1"}


def test_another_way_of_halving_is_refused():
    with pytest.raises(ConfigError, match="backbone downsample 'pool': choose ghost or dense"):
        small(downsample="pool")


def test_branches_are_set_in_backbone_neck_and_head():
    model = small(branches=2)
    for part in (model.backbone, model.neck, model.head):
        counts = {len(module.branches) for module in part.modules() if isinstance(module, RepConv)}
        assert counts == {2}


@pytest.mark.parametrize(("asked", "dense"), [(1, 1), (2, 2), (3, 2)])
def test_dense_convolutions_after_the_first_have_so_many_branches_at_most(asked, dense):
    model = small("ghostyolo-n", branches=asked, dense_branches=2)
    first = model.backbone.stem[0]
    counts: dict[bool, set[int]] = {True: set(), False: set()}
    for module in model.modules():
        if isinstance(module, RepConv) and module is not first:
            conv = module.branches[0].conv
            counts[conv.groups == 1 and conv.kernel_size == (3, 3)].add(len(module.branches))
    assert counts == {True: {dense}, False: {asked}}
    assert len(first.branches) == asked


def test_number_of_branches_does_not_change_what_is_deployed():
    one, three = (count_parameters(fold(small(branches=count))) for count in (1, 3))
    assert one == three


@pytest.mark.parametrize("name", ["ghostyolo-p", "ghostyolo-n", "ghostyolo-p-e2e"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_one_step_reaches_every_parameter(name, memory_format):
    model = small(name, branches=1).train().to(memory_format=memory_format)
    criterion = build_criterion(model.config.head.type, model.head)
    targets = Targets.from_lists(
        [torch.tensor([[4.0, 4, 40, 50]]), torch.tensor([[10.0, 20, 60, 60], [0, 0, 20, 20]])],
        [torch.tensor([0]), torch.tensor([1, 2])],
    )
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(2)).to(memory_format=memory_format)
    losses = criterion(model(images), targets)
    losses["loss"].backward()
    # The tunnels' gates begin at 0, so that what they gate learns from the second step on; boxes of the coarsest level
    # learn from objects that its cells are given, and these go to finer ones.
    silent = (
        "neck.correlate.",
        "neck.to3.",
        "neck.to5.",
        "head.box.2.",
        "head.one_to_many.box.",
        "head.one_to_one.box.",
    )
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, label
        assert torch.isfinite(parameter.grad).all(), label
        if label.endswith("conv.weight") and not label.startswith(silent):
            assert parameter.grad.abs().max() > 0, label


def test_without_hyperedges_the_neck_has_no_correlation_and_no_tunnel():
    config = fill_in(zoo_config("ghostyolo-n"))
    assert config.neck.params["hyperedges"] > 0
    neck = config.neck.model_copy(update={"params": {**config.neck.params, "hyperedges": 0}})
    model = build_model(config.model_copy(update={"neck": neck}), num_classes=3)
    assert not any("correlate" in name or "tunnel" in name for name, _ in model.named_parameters())
    assert model.eval()(torch.rand(1, 3, 32, 32))[0].shape == (1, 21, 4)


def test_end_to_end_it_needs_no_nms_and_deploys_one_branch_of_the_same_size():
    plain, ours = small(), small("ghostyolo-p-e2e")
    assert plain.needs_nms
    assert not ours.needs_nms
    assert count_parameters(fold(plain)) == count_parameters(fold(ours))

"""Folding is exact: branches, batch norms, strides, groups, odd kernels; in float64 to 1e-9."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from ghostyolo.nn.blocks import A2C2f, Conv, DSC3k2, DSConv
from ghostyolo.nn.csp import C3, Sppf
from ghostyolo.nn.elan import SppCsp, TinyElan
from ghostyolo.nn.reparam import ConvNorm, RepConv, fold, is_folded


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and batch norm statistics of no special value."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.3, 2.0),
            ):
                tensor.uniform_(low, high, generator=generator)
    return model.double().eval()


def assert_folds_exactly(model: nn.Module, image: torch.Tensor) -> None:
    folded = fold(model)
    assert is_folded(folded)
    assert not is_folded(model)
    with torch.no_grad():
        expected = model(image)
        torch.testing.assert_close(folded(image), expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(fold(folded)(image), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "groups", "branches", "act"),
    [
        (shape, kernel, stride, groups, branches, act)
        for shape, kernel, stride, branches, act in itertools.product(
            [(8, 8), (8, 12)], [1, 3, 5], [1, 2], [1, 3, 4], [None, nn.ReLU]
        )
        for groups in (1, 4, 8)
        if shape[0] % groups == 0 and shape[1] % groups == 0
    ],
)
def test_a_branch_container_folds_to_one_convolution(channels, kernel, stride, groups, branches, act):
    torch.manual_seed(0)
    model = randomise(RepConv(*channels, kernel, stride, groups, act, branches=branches))
    image = torch.randn(2, channels[0], 9, 7, dtype=torch.float64)
    assert_folds_exactly(model, image)
    folded = fold(model)
    convs = [module for module in folded.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 1
    assert (convs[0].kernel_size, convs[0].groups) == ((kernel, kernel), groups)


def test_every_branch_matters():
    """A fold that forgot a branch would be noticed: removing any of them changes the output."""
    model = randomise(RepConv(4, 4, 3, groups=4, branches=2))
    image = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        full = fold(model)(image)
        for norm in (model.branches[0].norm, model.branches[1].norm, model.pointwise.norm, model.identity):
            weight = norm.weight.clone()
            norm.weight.zero_()
            assert not torch.allclose(fold(model)(image), full)
            norm.weight.copy_(weight)


@pytest.mark.parametrize(
    "block",
    [
        ConvNorm(6, 10, (1, 5), groups=2),
        Conv(6, 10, 3, 2),
        DSConv(6, 10, 7),
        DSC3k2(6, 16, 2, nested=True),
        A2C2f(6, 64, 1, area=4),
        Conv(6, 10, 6, 2),
        C3(6, 16, 2),
        C3(6, 16, 1, shortcut=False),
        Sppf(6, 10),
        TinyElan(6, 8, 10),
        SppCsp(6, 10),
    ],
    ids=lambda block: type(block).__name__,
)
def test_blocks_fold_exactly(block):
    torch.manual_seed(0)
    for parameter in block.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.2)
    assert_folds_exactly(randomise(block), torch.randn(2, 6, 8, 12, dtype=torch.float64))


def test_folding_leaves_the_model_given_as_it_was():
    model = randomise(RepConv(4, 4, 3, branches=2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fold(model)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_no_branches_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        RepConv(4, 4, branches=0)

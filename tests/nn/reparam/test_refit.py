"""Weights with one number of branches in a network with another."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ghostyolo.nn.reparam import ConvNorm, RepConv, add_branches, refit_branches
from tests.nn.reparam.trained import randomise


class Small(nn.Module):
    """Two containers: a pointwise one, and a depthwise one with the 1x1 branch and the identity."""

    def __init__(self, branches: int) -> None:
        super().__init__()
        self.wide = RepConv(3, 8, branches=branches)
        self.deep = RepConv(8, 8, 3, groups=8, branches=branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.deep(self.wide(x))


def trained(model: nn.Module) -> nn.Module:
    return randomise(model.double()).eval()


def refitted(source: nn.Module, target: nn.Module) -> tuple[nn.Module, list[str]]:
    tensors, changed = refit_branches(source.state_dict(), target)
    missing, _ = target.double().load_state_dict(tensors, strict=False)
    assert not [name for name in missing if not name.endswith("num_batches_tracked")]
    return target.eval(), changed


X = torch.rand(4, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("source", "target"), [(3, 1), (3, 2), (1, 3), (4, 2), (2, 4)])
def test_outputs_in_evaluation_are_equal(source, target) -> None:
    model = trained(Small(source))
    other, changed = refitted(model, Small(target))
    assert changed == ["wide", "deep"]
    torch.testing.assert_close(other(X), model(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("source", "target"), [(True, False), (False, True)])
@pytest.mark.parametrize("branches", [1, 3])
def test_a_pointwise_branch_comes_and_goes_without_a_change_in_evaluation(source, target, branches) -> None:
    model = trained(RepConv(8, 8, 3, groups=8, branches=2, pointwise=source))
    wanted = RepConv(8, 8, 3, groups=8, branches=branches, pointwise=target)
    holder, other = nn.Sequential(model), nn.Sequential(wanted)
    _, changed = refitted(holder.eval(), other)
    assert changed == ["0"]
    x = torch.rand(2, 8, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(other(x), holder(x), rtol=1e-9, atol=1e-9)


def test_equal_numbers_change_nothing() -> None:
    model = trained(Small(2))
    tensors, changed = refit_branches(model.state_dict(), Small(2))
    assert changed == []
    assert all(
        tensors[name] is value or torch.equal(tensors[name], value) for name, value in model.state_dict().items()
    )


def test_added_branches_keep_the_outputs_in_training_too() -> None:
    model = trained(Small(1))
    other, _ = refitted(model, Small(3))
    torch.testing.assert_close(other.train()(X), model.train()(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("groups", [1, 8])
def test_a_container_becomes_a_plain_unit(groups) -> None:
    model = trained(RepConv(8, 8, 3, groups=groups, branches=3))
    holder, plain = nn.Sequential(model), nn.Sequential(ConvNorm(8, 8, 3, groups=groups))
    other, changed = refitted(holder, plain)
    x = torch.rand(2, 8, 9, 9, dtype=torch.float64)
    assert changed == ["0"]
    torch.testing.assert_close(other(x), holder(x), rtol=1e-9, atol=1e-9)


def test_branches_of_any_network_go_back_into_its_convolutions_and_norms() -> None:
    plain = nn.Sequential(
        nn.Conv2d(3, 8, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.BatchNorm2d(8),
    )
    branched = trained(add_branches(plain, 3, init="fresh"))
    other, changed = refitted(branched, copy.deepcopy(plain))
    assert changed == ["0", "3"]
    torch.testing.assert_close(other(X), branched(X), rtol=1e-9, atol=1e-9)


def test_variance_is_exact_for_copies_of_one_branch() -> None:
    """Two equal branches give twice one branch: its deviation is twice as large, its mean too."""
    model = Small(1)
    randomise(model)
    double = Small(2).double()
    for name in ("wide", "deep"):
        for index in range(2):
            double.get_submodule(f"{name}.branches.{index}").load_state_dict(
                model.get_submodule(f"{name}.branches.0").state_dict()
            )
    tensors, _ = refit_branches(double.state_dict(), Small(1))
    norm = model.wide.branches[0].norm
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    expected = (2 * scale) ** 2 * norm.running_var
    torch.testing.assert_close(tensors["wide.branches.0.norm.running_var"], expected.detach())
    torch.testing.assert_close(tensors["wide.branches.0.norm.running_mean"], (2 * scale * norm.running_mean).detach())

"""All branches at once: outputs, gradients and running statistics are those of the branches one by one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ghostyolo.models.backbones.ghostnet import GhostNet
from ghostyolo.nn.reparam import RepConv
from ghostyolo.nn.reparam.fast_sum import choice
from tests.nn.reparam.trained import assert_same, ramp_loss

FORMATS = pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["last", "first"])


@pytest.fixture(autouse=True)
def small_maps_too(monkeypatch):
    monkeypatch.setattr(choice, "_pays", lambda x, branches: True)


@pytest.fixture
def ways(monkeypatch) -> list[str]:
    """Names of the ways that were taken, in order."""
    taken: list[str] = []

    def watch(name: str) -> None:
        way = getattr(choice, f"_{name}")

        def watched(*args):
            result = way(*args)
            taken.append(name if result is not None else "one by one")
            return result

        monkeypatch.setattr(choice, f"_{name}", watched)

    for name in ("merged", "stacked", "strided"):
        watch(name)
    return taken


def trained(container: RepConv, dtype: torch.dtype = torch.float64) -> RepConv:
    torch.manual_seed(0)
    for conv in container.modules():
        if isinstance(conv, nn.Conv2d):
            conv.reset_parameters()
    for norm in container.norms():
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    return container.to(dtype).train()


def batch(*shape: int, dtype: torch.dtype = torch.float64, layout=torch.contiguous_format) -> torch.Tensor:
    """A map as it comes out of an activation: no negative values, a mean of its own in each channel."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(*shape, dtype=torch.float64, generator=generator).relu()
    x = x + torch.linspace(0, 1, shape[1], dtype=torch.float64).view(1, -1, 1, 1)
    return x.to(dtype).contiguous(memory_format=layout)


def step(container: nn.Module, call, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output, gradients and buffers of one training step; gradients of parameters as one vector.

    One vector, because the gradient of a kernel that a batch norm follows is next to nothing where the kernel is one
    number: it has no digits of its own to compare.
    """
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    output = call(x)
    parameters = dict(container.named_parameters())
    grads = torch.autograd.grad(ramp_loss(output), (x, *parameters.values()))
    vector = torch.cat([grad.flatten() for grad in grads[1:]])
    buffers = {name: value.clone().double() for name, value in container.named_buffers()}
    return {"output": output.detach(), "input gradient": grads[0], "gradients": vector, **buffers}


def assert_as_one_by_one(container: RepConv, x: torch.Tensor, tolerance: float = 1e-9, steps: int = 2) -> None:
    """Hold two steps (statistics move from where the first one left them) to a float64 copy, branch by branch."""
    reference = copy.deepcopy(container).double()
    for _ in range(steps):
        found = step(container, container, x)
        expected = step(reference, lambda x: reference.act(reference.sum_one_by_one(x)), x.double())
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            scale = float(value.abs().max())
            torch.testing.assert_close(
                found[name].double(),
                value,
                rtol=0,
                atol=tolerance * max(scale, 1e-3),
                msg=lambda text, n=name: n + text,
            )


CASES = {
    "pointwise": (RepConv(6, 10), (3, 6, 9, 8), "merged"),
    "pointwise, many pixels": (RepConv(3, 4), (2, 3, 70, 61), "merged"),
    "pointwise with identity": (RepConv(6, 6), (3, 6, 9, 8), "merged"),
    "pointwise, two branches, act": (RepConv(6, 8, branches=2, act=nn.ReLU), (3, 6, 9, 8), "merged"),
    "wide to narrow": (RepConv(96, 4), (3, 96, 9, 8), "stacked"),
    "one value a channel": (RepConv(5, 7), (8, 5, 1, 1), "merged"),
    "depthwise": (RepConv(8, 8, 3, groups=8), (3, 8, 9, 8), "merged"),
    "depthwise, one branch": (RepConv(8, 8, 3, groups=8, branches=1), (3, 8, 9, 8), "merged"),
    "depthwise without extras": (
        RepConv(8, 8, 3, groups=8, pointwise=False, identity=False),
        (2, 8, 7, 7),
        "merged",
    ),
    "depthwise, bands of rows": (RepConv(2, 2, 3, groups=2), (2, 2, 90, 70), "merged"),
    "depthwise, one channel": (RepConv(1, 1, 3, identity=False), (3, 1, 9, 8), "merged"),
    "dense": (RepConv(2, 10, 3), (3, 2, 9, 8), "merged"),
    "dense with identity, act": (RepConv(2, 2, 3, act=nn.ReLU, branches=20), (3, 2, 9, 8), "merged"),
    "dense of stride 2, odd": (RepConv(3, 16, 3, 2), (3, 3, 9, 7), "merged"),
    "dense of stride 2, even, many pixels": (RepConv(3, 16, 3, 2), (2, 3, 150, 162), "merged"),
    "dense 5x5 without 1x1": (RepConv(2, 40, 5, pointwise=False, identity=False), (2, 2, 9, 8), "merged"),
    "strided": (RepConv(8, 8, 3, 2, groups=8), (3, 8, 9, 8), "strided"),
    "strided 5x5, even": (RepConv(8, 8, 5, 2, groups=8), (3, 8, 10, 8), "strided"),
    "strided 5x5, odd": (RepConv(8, 8, 5, 2, groups=8), (3, 8, 9, 7), "strided"),
    "strided without 1x1": (RepConv(8, 8, 5, 2, groups=8, pointwise=False, branches=2), (3, 8, 9, 8), "strided"),
}


def _is_left(container: RepConv, layout: torch.memory_format) -> bool:
    """Strided 3x3 are as fast one by one where channels are last."""
    conv = container.branches[0].conv
    strided = conv.groups > 1 and (conv.stride, conv.kernel_size) == ((2, 2), (3, 3))
    return strided and layout == torch.channels_last


@FORMATS
@pytest.mark.parametrize(("container", "shape", "way"), CASES.values(), ids=CASES)
def test_a_training_step_is_that_of_the_branches_one_by_one(container, shape, way, layout, ways):
    container = trained(copy.deepcopy(container))
    x = batch(*shape, layout=layout)
    assert_as_one_by_one(container, x)
    assert ways == [] if _is_left(container, layout) else set(ways) == {way}
    output = container(x.requires_grad_())
    assert output.is_contiguous(memory_format=layout)
    (grad,) = torch.autograd.grad(output.sum(), x)
    assert grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(("container", "shape", "way"), CASES.values(), ids=CASES)
def test_gradients_of_several_steps_add_up(container, shape, way):
    """Parameters add in place to the gradient that they were given: no two may share it."""
    container = trained(copy.deepcopy(container))
    reference = copy.deepcopy(container)
    for _ in range(3):
        ramp_loss(container(batch(*shape))).backward()
        with choice.one_by_one():
            ramp_loss(reference(batch(*shape))).backward()
    found, expected = (torch.cat([p.grad.flatten() for p in one.parameters()]) for one in (container, reference))
    assert_same(found, expected)


@FORMATS
@pytest.mark.parametrize(("container", "shape", "way"), CASES.values(), ids=CASES)
def test_float32_is_as_near(container, shape, way, layout):
    container = trained(copy.deepcopy(container), torch.float32)
    assert_as_one_by_one(container, batch(*shape, dtype=torch.float32, layout=layout), 1e-5)


@pytest.mark.parametrize("shape", [(3, 1), (1, 4), (2, 2), (3, 2), (1, 1)])
def test_maps_that_are_all_rim(shape, ways):
    assert_as_one_by_one(trained(RepConv(4, 4, 3, groups=4)), batch(6, 4, *shape))
    assert_as_one_by_one(trained(RepConv(4, 4, 5, 2, groups=4)), batch(6, 4, *shape))
    assert "strided" in ways


@pytest.mark.parametrize("momentum", [0.3, None])
def test_momentum_is_each_norms_own(momentum, ways):
    for container, shape in ((RepConv(6, 10), (3, 6, 5, 5)), (RepConv(96, 4), (3, 96, 5, 5))):
        container = trained(container)
        for norm in container.norms():
            norm.momentum = momentum
        assert_as_one_by_one(container, batch(*shape), steps=3)
    assert set(ways) == {"merged", "stacked"}
    mixed = trained(RepConv(6, 10))
    mixed.norms()[1].momentum, mixed.norms()[2].eps = 0.5, 0.2
    assert_as_one_by_one(mixed, batch(3, 6, 5, 5))
    mixed = trained(RepConv(96, 4))
    mixed.norms()[1].eps = 0.2
    assert_as_one_by_one(mixed, batch(3, 96, 5, 5))
    assert set(ways) == {"merged", "stacked"}


def test_frozen_weights_and_inputs_without_gradient():
    container = trained(RepConv(8, 8, 3, groups=8))
    container.branches[0].conv.weight.requires_grad_(False)
    reference = copy.deepcopy(container)
    x = batch(3, 8, 6, 6)
    ramp_loss(container(x)).backward()
    ramp_loss(reference.sum_one_by_one(x)).backward()
    assert container.branches[0].conv.weight.grad is None
    for (name, one), other in zip(container.named_parameters(), reference.parameters(), strict=True):
        if other.grad is not None:
            assert one.grad is not None, name
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-7, atol=1e-9)


def test_nearly_constant_maps_keep_their_digits(ways):
    """Channels of mean 1000 and deviation 0.01: the merged variance would be noise, so it is not used."""
    x = 1000 + 0.01 * batch(3, 8, 9, 8, dtype=torch.float64)
    container = trained(RepConv(8, 8, 3, groups=8), torch.float32)
    expected = copy.deepcopy(container).sum_one_by_one(x.float())
    assert torch.equal(container(x.float()), expected)
    assert ways == ["one by one"]


@FORMATS
def test_a_single_channel_keeps_its_layout(layout, ways):
    """Grey pictures are contiguous either way: strides alone say which was meant."""
    x = torch.empty(3, 1, 9, 8, dtype=torch.float64, memory_format=layout).copy_(batch(3, 1, 9, 8))
    container = trained(RepConv(1, 16, 3, 2))
    assert_as_one_by_one(container, x)
    assert container(x).is_contiguous(memory_format=layout)
    assert set(ways) == {"merged"}


def test_edges_of_a_smooth_picture_keep_their_digits(ways):
    """A kernel that sees differences of neighbours: its variance is a small rest of what is added and subtracted."""
    slope = torch.linspace(0, 1, 200, dtype=torch.float64)
    x = (slope.sin() + (3 * slope).cos().unsqueeze(1)).expand(2, 3, 200, 200).contiguous()
    container = trained(RepConv(3, 16, 3, 2, pointwise=False))
    for branch in container.branches:
        branch.conv.weight.data -= branch.conv.weight.data.mean((1, 2, 3), keepdim=True)
    x = torch.nn.functional.pad(x, [30] * 4)
    assert_as_one_by_one(container, x)
    assert_as_one_by_one(container.float(), x.float(), 1e-4)
    assert set(ways) == {"merged"}


def test_a_blank_picture_is_summed_one_by_one(ways):
    x = torch.zeros(2, 3, 12, 12)
    container = trained(RepConv(3, 16, 3, 2), torch.float32)
    expected = copy.deepcopy(container).sum_one_by_one(x)
    assert torch.equal(container(x), expected)
    assert ways == ["one by one"]


def _observed(container: RepConv) -> RepConv:
    container.branches[1].conv.register_forward_hook(lambda module, args, output: None)
    return container


def _partly_frozen(container: RepConv) -> RepConv:
    container.branches[1].norm.eval()
    return container


def _dilated() -> RepConv:
    conv = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
    return RepConv.like(conv, nn.BatchNorm2d(8), 3, True, True)


SPECIAL = {
    "synchronised": lambda: nn.SyncBatchNorm.convert_sync_batchnorm(RepConv(8, 8, 3, groups=8)),
    "observed": lambda: _observed(RepConv(8, 8)),
    "partly frozen": lambda: _partly_frozen(RepConv(8, 8, 3, groups=8)),
    "dilated": _dilated,
    "dense": lambda: RepConv(8, 8, 3),
    "grouped": lambda: RepConv(8, 8, 3, groups=4),
    "strided 1x1": lambda: RepConv(8, 8, 1, 2),
    "evaluation": lambda: RepConv(8, 8).eval(),
}


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_what_is_special_is_summed_one_by_one(make, ways):
    container = make()
    x = batch(3, 8, 6, 6, dtype=torch.float32)
    expected = copy.deepcopy(container).sum_one_by_one(x)
    assert torch.equal(container(x), expected)
    assert ways == []


def test_autocast_and_other_types_are_summed_one_by_one(ways):
    container = RepConv(8, 8)
    x = batch(3, 8, 6, 6, dtype=torch.float32)
    reference = copy.deepcopy(container)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(container(x), reference.sum_one_by_one(x))
    container, reference = container.bfloat16(), reference.bfloat16()
    assert torch.equal(container(x.bfloat16()), reference.sum_one_by_one(x.bfloat16()))
    assert ways == []


def test_function_transforms_find_the_branches_one_by_one(ways):
    container = trained(RepConv(4, 4, 3, groups=4))
    x = batch(2, 4, 5, 5)
    values = {name: value.detach() for name, value in (*container.named_parameters(), *container.named_buffers())}

    def loss(x):
        return ramp_loss(torch.func.functional_call(container, {k: v.clone() for k, v in values.items()}, (x,)))

    reference = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(ramp_loss(copy.deepcopy(container).sum_one_by_one(reference)), reference)
    assert_same(torch.func.grad(loss)(x), found)
    assert ways == []


def test_compilers_find_the_branches_one_by_one(ways):
    container = trained(RepConv(4, 4, 3, groups=4))
    x = batch(2, 4, 5, 5)
    expected = copy.deepcopy(container).sum_one_by_one(x)
    assert_same(torch.compile(container, backend="eager", fullgraph=True)(x), expected)
    exported = torch.export.export(copy.deepcopy(container).eval(), (x,)).module()
    assert_same(exported(x), copy.deepcopy(container).eval()(x))
    assert ways == []


def smooth(*shape: int) -> torch.Tensor:
    """A picture with a bar above, as letterboxing leaves it: neighbours are alike, kernels see next to nothing."""
    x = torch.nn.functional.avg_pool2d(batch(*shape), 3, 1, 1, count_include_pad=False)
    x[:, :, : shape[2] // 5] = x[:1, :, :1, :1]
    return x


def test_smooth_maps_keep_their_digits_in_float32(ways):
    """Found on pictures: second moments of float32 are not enough where the variance is a hundredth of them."""
    torch.manual_seed(0)
    container = trained(RepConv(1, 1, 3, identity=False), torch.float32)
    exact = []
    original = choice.DepthwiseForm.make_exact
    choice.DepthwiseForm.make_exact = lambda form, x: exact.append(1) or original(form, x)  # type: ignore[method-assign]
    try:
        assert_as_one_by_one(container, smooth(4, 1, 60, 60).float(), 2e-5)
    finally:
        choice.DepthwiseForm.make_exact = original  # type: ignore[method-assign]
    assert exact
    assert set(ways) == {"merged"}


def test_small_maps_go_through_channels_last_and_come_back(monkeypatch, ways):
    monkeypatch.setattr(choice, "_pays", lambda x, branches: False)
    container = trained(RepConv(8, 8, 3, groups=8, act=lambda: nn.ReLU(inplace=True)))
    x = batch(3, 8, 9, 8)
    assert_as_one_by_one(container, x)
    output = container(x.requires_grad_())
    assert output.is_contiguous()
    (grad,) = torch.autograd.grad(output.sum(), x)
    assert grad.is_contiguous()
    assert ways == []


def test_one_value_a_channel_is_refused_as_by_batch_norms():
    for container in (RepConv(8, 8), RepConv(8, 8, 3, groups=8), RepConv(8, 8, 3, 2, groups=8)):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            container.train()(torch.randn(1, 8, 1, 1))


def test_a_second_derivative_is_refused_and_not_wrong():
    x = batch(3, 4, 5, 5).requires_grad_()
    (grad,) = torch.autograd.grad(ramp_loss(trained(RepConv(4, 4))(x)), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_recomputation_in_the_backward_pass_gives_the_same_gradients():
    container = trained(RepConv(8, 8, 3, groups=8))
    x = batch(3, 8, 6, 6).requires_grad_()
    (expected,) = torch.autograd.grad(ramp_loss(container(x)), x)
    (found,) = torch.autograd.grad(ramp_loss(checkpoint(container, x, use_reentrant=False)), x)
    assert_same(found, expected)


@FORMATS
def test_a_backbone_takes_the_step_that_it_would_take_branch_by_branch(layout, ways):
    torch.manual_seed(0)
    backbone = GhostNet(0.25, "dfc", 3).double().train().to(memory_format=layout)
    reference = copy.deepcopy(backbone)
    image = torch.rand(2, 3, 64, 64, dtype=torch.float64).contiguous(memory_format=layout)
    sum(ramp_loss(level) for level in backbone(image)).backward()
    assert set(ways) >= {"merged", "stacked", "strided"}
    ways.clear()
    with choice.one_by_one():
        sum(ramp_loss(level) for level in reference(image)).backward()
    assert ways == []
    for (name, one), other in zip(backbone.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-7, msg=lambda text, n=name: n + text)
    for (name, one), other in zip(backbone.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8, msg=lambda text, n=name: n + text)

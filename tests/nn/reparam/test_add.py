"""Branches in any network: outputs are kept, names are as documented, and what was trained folds exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ghostyolo.errors import ConfigError
from ghostyolo.nn.blocks import DSConv
from ghostyolo.nn.reparam import ConvNorm, RepConv, add_branches, fold, is_folded
from tests.nn.reparam.trained import assert_same, norms_in, ramp_loss, randomise, train_steps


def image(channels: int = 4) -> torch.Tensor:
    return torch.randn(3, channels, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Separable(nn.Module):
    """A depthwise and a 1x1 convolution, each with a batch norm: one block of a MobileNet."""

    def __init__(self, **depthwise) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.depthwise = nn.Conv2d(4, 4, **{"kernel_size": 3, "padding": 1, "groups": 4, "bias": False, **depthwise})
        self.bn1 = nn.BatchNorm2d(4, eps=1e-3, momentum=0.01)
        self.pointwise = nn.Conv2d(4, 6, 1)
        self.bn2 = nn.BatchNorm2d(6)

    def forward(self, x):
        return self.bn2(self.pointwise(self.bn1(self.depthwise(x)).relu()))


def branched_and_checked(model: nn.Module, x: torch.Tensor | None = None, **options) -> nn.Module:
    """Add branches; hold outputs in both modes and statistics to the original's, then train and hold the fold."""
    x = image() if x is None else x
    randomise(model)
    before = copy.deepcopy(model)
    branched = add_branches(model, example=x, **options)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before.state_dict()[name])
    with torch.no_grad():
        assert_same(branched(x), model(x))
        assert_same(fold(branched, x)(x), model(x))
        assert_same(copy.deepcopy(branched).train()(x), before.train()(x))
    train_steps(branched, x)
    folded = fold(branched, x)
    assert is_folded(folded, x)
    assert not any(isinstance(module, RepConv) for module in folded.modules())
    with torch.no_grad():
        assert_same(folded(x), branched(x))
        assert not torch.allclose(folded(x), model.eval()(x))
    return branched


GEOMETRIES = [
    {"padding": 1},
    {"kernel_size": (1, 5), "padding": (0, 2), "stride": (2, 1)},
    {"kernel_size": 5, "padding": 4, "dilation": 2},
    {"padding": "same"},
    {"padding": 1, "padding_mode": "reflect"},
    {"padding": 0},
    {"padding": 2},
    {"kernel_size": 2, "stride": 2, "padding": 0},
    {"bias": True},
    {"out_channels": 8, "bias": True},
    {"groups": 1},
    {"groups": 2, "stride": 2},
]
CENTRED = [True, True, True, True, True, False, False, False, True, True, True, True]


@pytest.mark.parametrize(("geometry", "centred"), zip(GEOMETRIES, CENTRED, strict=True), ids=str)
def test_any_geometry_keeps_its_outputs_and_folds_after_training(geometry, centred):
    options = {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "padding": 1, "groups": 4, **geometry}
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(**options), nn.BatchNorm2d(options["out_channels"]), nn.SiLU())
    branched = branched_and_checked(model, n=2, kinds=("pointwise", "depthwise", "dense"))
    container = branched[0]
    assert isinstance(container, RepConv)
    assert len(container.branches) == 2
    assert (container.pointwise is not None) == centred
    same_shape = options.get("stride", 1) == 1 and options["out_channels"] == 4
    assert (container.identity is not None) == (centred and same_shape)
    assert isinstance(branched[1], nn.Identity)


def test_names_of_parameters():
    branched = add_branches(Separable(), n=2, example=image().float())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {
        *(f"depthwise.branches.{number}.conv.weight" for number in (0, 1)),
        *(f"depthwise.branches.{number}.norm.{name}" for number in (0, 1) for name in norm),
        "depthwise.pointwise.conv.weight",
        *(f"depthwise.pointwise.norm.{name}" for name in norm),
        *(f"depthwise.identity.{name}" for name in norm),
        *(f"pointwise.branches.{number}.conv.weight" for number in (0, 1)),
        *(f"pointwise.branches.{number}.norm.{name}" for number in (0, 1) for name in norm),
    }
    assert set(branched.state_dict()) == expected


def test_options_choose_places_and_branches():
    model, x = Separable(), image().float()
    depthwise_only = add_branches(model, 4, kinds=["depthwise"], pointwise=False, identity=False, example=x)
    assert len(depthwise_only.depthwise.branches) == 4
    assert depthwise_only.depthwise.pointwise is depthwise_only.depthwise.identity is None
    assert isinstance(depthwise_only.pointwise, nn.Conv2d)
    assert isinstance(depthwise_only.bn2, nn.BatchNorm2d)
    pointwise_only = add_branches(model, 1, kinds=("pointwise",), example=x)
    assert isinstance(pointwise_only.depthwise, nn.Conv2d)
    assert len(pointwise_only.pointwise.branches) == 1


def test_norms_are_made_as_the_one_that_was_there():
    container = add_branches(Separable(), example=image().float()).depthwise
    assert len(container.norms()) == 5
    assert {(norm.eps, norm.momentum) for norm in container.norms()} == {(1e-3, 0.01)}
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(Separable())
    container = add_branches(synchronised, example=image().float()).depthwise
    assert {type(norm) for norm in container.norms()} == {nn.SyncBatchNorm}


def test_added_branches_learn():
    """Weight 0 is no dead end: the norm's weight has a gradient at once, the convolution after one step."""
    branched = add_branches(randomise(Separable()), example=image()).train()
    optimizer = torch.optim.SGD(branched.parameters(), lr=0.1)
    added = branched.depthwise.branches[1]
    gradients = []
    for _ in range(2):
        optimizer.zero_grad()
        ramp_loss(branched(image())).backward()
        gradients.append([float(tensor.grad.abs().max()) for tensor in (added.norm.weight, added.conv.weight)])
        optimizer.step()
    assert gradients[0][0] > 1e-6
    assert gradients[0][1] == 0
    assert gradients[1][1] > 1e-6
    kernels = [branch.conv.weight for branch in branched.depthwise.branches]
    assert not torch.allclose(kernels[1], kernels[2])


def test_fresh_branches_all_begin_with_weight_one_and_fold_exactly():
    model = randomise(Separable())
    branched = add_branches(model, init="fresh", example=image())
    assert all(torch.all(norm.weight == 1) for norm in branched.depthwise.norms())
    assert not torch.allclose(branched(image()), model(image()))
    train_steps(branched, image())
    assert_same(fold(branched, image())(image()), branched(image()))


def test_frozen_weights_stay_frozen_and_added_ones_learn():
    model = Separable().requires_grad_(False)
    container = add_branches(model, n=2, example=image().float()).depthwise
    first, added = container.branches
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert all(parameter.requires_grad for parameter in added.parameters())


def test_modes_type_and_device_are_those_of_the_place():
    model = Separable().half().train()
    model.bn1.eval()
    with torch.device("meta"):
        branched = add_branches(model.to("meta"))
    assert not branched.depthwise.training
    assert branched.pointwise.training
    assert {(tensor.dtype, tensor.device.type) for tensor in branched.parameters()} == {(torch.float16, "meta")}


def test_units_of_ours_become_containers_as_a_whole_and_others_stay():
    model = nn.Sequential(
        ConvNorm(4, 6, act=nn.ReLU), DSConv(6, 6), RepConv(6, 6, 3, groups=6, branches=2), ConvNorm(6, 4, (3, 1))
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    branched = branched_and_checked(model)
    assert [type(layer) for layer in branched] == [RepConv, DSConv, RepConv, ConvNorm]
    assert isinstance(branched[0].act, nn.ReLU)
    assert len(branched[2].branches) == 2
    assert isinstance(add_branches(ConvNorm(4, 4), example=image().float()), RepConv)


class Unit(nn.Sequential):
    """Convolution and norm with a ``fuse()``, as timm's RepViT has them."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))

    def fuse(self) -> nn.Module:
        conv = nn.Conv2d(self[0].in_channels, self[0].out_channels, 1)
        scale = self[1].weight / (self[1].running_var + self[1].eps).sqrt()
        conv.weight.data.copy_(self[0].weight * scale[:, None, None, None])
        conv.bias.data.copy_(self[1].bias + (self[0].bias - self[1].running_mean) * scale)
        return conv


class Merging(nn.Module):
    """Two units that ``fuse()`` adds up: it needs them as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = Unit(4), Unit(4)

    def forward(self, x):
        return self.left(x) + self.right(x)

    def fuse(self) -> nn.Module:
        conv, other = self.left.fuse(), self.right.fuse()
        conv.weight.data += other.weight
        conv.bias.data += other.bias
        return conv


class Walker(nn.Sequential):
    """A network whose ``fuse()`` walks over its children in place and returns nothing."""

    def fuse(self) -> None:
        for name, child in self.named_children():
            setattr(self, name, child.fuse())


def test_units_of_others_become_containers_and_merging_blocks_stay():
    branched = branched_and_checked(Walker(Unit(4), Merging()))
    assert [type(layer) for layer in branched] == [RepConv, Merging]
    assert [type(layer) for layer in fold(branched, image())] == [nn.Conv2d, nn.Conv2d]


def test_a_shared_head_gets_one_container():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            return sum(self.norm(self.conv(level)).mean((2, 3)) for level in (x, x[..., ::2]))

    branched = branched_and_checked(Head())
    assert norms_in(branched)[0] == "conv.branches.0.norm"


def test_activation_of_a_foreign_batch_norm_stays_under_its_name():
    layers = pytest.importorskip("timm.layers")
    model = Separable()
    model.bn1 = layers.BatchNormAct2d(4, act_layer=nn.PReLU)
    branched = branched_and_checked(model)
    assert type(branched.bn1.act) is nn.PReLU
    assert "bn1.act.weight" in branched.state_dict()
    assert type(fold(branched, image()).bn1.act) is nn.PReLU


def test_frozen_batch_norms_and_other_dimensions_get_no_branches():
    frozen = pytest.importorskip("torchvision").ops.FrozenBatchNorm2d
    for model, x in (
        (nn.Sequential(nn.Conv2d(4, 4, 1), frozen(4)), image().float()),
        (nn.Sequential(nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4)), torch.randn(2, 4, 5)),
    ):
        with pytest.raises(ConfigError, match="Sequential has no convolution with a batch norm to add branches to"):
            add_branches(model, example=x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n of at least 1, got 0"),
        ({"kinds": ("depthwize",)}, "does not know 'depthwize': did you mean depthwise?"),
        ({"init": "kept"}, "does not know 'kept': did you mean keep?"),
        ({"kinds": ("dense",)}, r"no convolution with a batch norm to add branches to \(dense\)"),
        ({"kinds": ()}, "no kinds"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        add_branches(Separable(), example=image().float(), **options)


def test_the_public_face_has_both():
    import ghostyolo

    assert (ghostyolo.add_branches, ghostyolo.fold) == (add_branches, fold)

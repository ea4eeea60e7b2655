"""Folding any network: proven pairs go into the kernel exactly, in float64 to 1e-9; what is not proven stays."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ghostyolo.errors import ConfigError
from ghostyolo.nn.reparam import fold, is_folded
from tests.nn.reparam.trained import assert_same, norms_in, randomise


def image(channels: int = 4, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, 11, 10, dtype=torch.float64, generator=generator)


class Layers(nn.Module):
    """A 3x3 convolution, a batch norm and a 1x1 convolution; each test says how they are called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm2d(4)  # registered before what it follows: order of registration says nothing
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 4, 1)


def folded_and_checked(model: nn.Module, x: torch.Tensor | None = None) -> nn.Module:
    """Fold with the input as example, and hold the copy to the outputs of the original."""
    x = image() if x is None else x
    randomise(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold(model, x)
    with torch.no_grad():
        assert_same(folded(x), model(x))
        assert_same(fold(folded, x)(x), model(x))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert is_folded(folded, x)
    return folded


GEOMETRIES = [
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": (1, 5), "padding": (0, 2), "dilation": (1, 2)},
    {"kernel_size": (2, 4), "padding": (1, 0), "stride": (1, 3)},
    {"kernel_size": 3, "padding": "same", "dilation": 2},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 3, "padding": 2, "padding_mode": "circular"},
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("groups", "out", "bias"), [(1, 6, False), (2, 6, True), (4, 8, False), (4, 4, True)])
def test_any_convolution_takes_its_batch_norm(geometry, groups, out, bias):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, out, groups=groups, bias=bias, **geometry), nn.BatchNorm2d(out, eps=0.1))
    folded = folded_and_checked(model)
    assert [type(layer) for layer in folded] == [nn.Conv2d, nn.Identity]
    assert folded[0].bias is not None
    assert folded[0].padding_mode == model[0].padding_mode


@pytest.mark.parametrize("dimensions", [1, 3])
def test_one_and_three_dimensional_convolutions(dimensions):
    conv, norm = {1: (nn.Conv1d, nn.BatchNorm1d), 3: (nn.Conv3d, nn.BatchNorm3d)}[dimensions]
    model = nn.Sequential(conv(3, 4, 3, groups=1), norm(4), nn.ReLU())
    x = torch.randn(2, 3, *[6] * dimensions, dtype=torch.float64)
    assert norms_in(folded_and_checked(model, x)) == []


def test_random_networks_fold_exactly():
    """Chains and sums of random layers, drawn from a seed."""
    for seed in range(12):
        torch.manual_seed(seed)
        model = nn.Sequential(*(RandomBlock(4, seed=10 * seed + number) for number in range(4)))
        assert norms_in(folded_and_checked(model)) == []


class RandomBlock(nn.Module):
    """x + act(norm(conv(x))), or without the sum, or with two norms on two paths."""

    def __init__(self, channels: int, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)

        def choose(*options):
            return options[int(torch.randint(len(options), (), generator=draw))]

        kernel, dilation = choose(1, 3, 5), choose(1, 2)
        self.way = choose("chain", "sum", "two paths")
        self.conv = nn.Conv2d(
            channels,
            channels,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=choose(1, 2, channels),
            bias=choose(True, False),
        )
        self.norm = nn.BatchNorm2d(channels, affine=choose(True, False), eps=choose(1e-5, 1e-2))
        self.other = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
        self.act = choose(nn.ReLU(inplace=True), nn.SiLU(), nn.Identity())

    def forward(self, x):
        y = self.act(self.norm(self.conv(x)))
        if self.way == "two paths":
            return y + self.other(x)
        return self.other(x + y if self.way == "sum" else y)


class Shared(Layers):
    """One convolution and norm for several levels, as detection heads have."""

    def forward(self, x):
        return [self.last(self.norm(self.conv(level))) for level in (x, x[..., ::2, ::2], -x)]


class Undrawable(Layers):
    """What a symbolic trace cannot follow: the value of a tensor decides, and an ``isinstance`` too."""

    def forward(self, x):
        y = self.conv(x)
        if isinstance(x, torch.Tensor):
            y = self.norm(y) if float(x.abs().sum()) > 0 else y
        return self.last(y)


class ThroughDropout(Layers):
    """Dropout does nothing in evaluation; the tensor stays the same one."""

    def forward(self, x):
        return self.last(self.norm(F.dropout(nn.Identity()(self.conv(x)), 0.5, self.training)))


@pytest.mark.parametrize("model", [Shared(), Undrawable(), ThroughDropout()], ids=lambda model: type(model).__name__)
def test_pairs_are_found_by_what_runs(model):
    assert norms_in(folded_and_checked(model)) == []


class OutputUsedTwice(Layers):
    def forward(self, x):
        y = self.conv(x)
        return self.last(self.norm(y) + y)


class OutputReturned(Layers):
    def forward(self, x):
        y = self.conv(x)
        return {"raw": [y], "features": self.last(self.norm(y))}


@dataclasses.dataclass(slots=True)
class Features:
    raw: torch.Tensor
    last: torch.Tensor

    def values(self):
        return [self.raw, self.last]


class OutputReturnedInADataclass(Layers):
    def forward(self, x):
        y = self.conv(x)
        return Features(y, self.last(self.norm(y)))


class OutputChangedInPlace(Layers):
    def forward(self, x):
        y = self.conv(x)
        y += 1
        return self.norm(y)


class OutputSeenThroughAView(Layers):
    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) * y[:, :, :1].mean()


class NormSharedByTwo(Layers):
    def forward(self, x):
        return self.norm(self.conv(x)) + self.norm(self.last(x))


class NormOfSomethingElseToo(Layers):
    def forward(self, x):
        return self.norm(self.conv(x)) + self.norm(x)


class ConvolutionWithoutNormToo(Layers):
    def forward(self, x):
        return self.norm(self.conv(x)) + self.conv(-x)


class ActivationBetween(Layers):
    def forward(self, x):
        return self.last(self.norm(self.conv(x).relu()))


class NormFirst(Layers):
    def forward(self, x):
        return self.last(self.conv(self.norm(x)))


class WeightRead(Layers):
    def forward(self, x):
        return self.norm(self.conv(x)) + F.conv2d(x, self.conv.weight, padding=1)


class NormWeightRead(Layers):
    def forward(self, x):
        return self.norm(self.conv(x)) * self.norm.weight.sum()


class CalledAsFunctions(Layers):
    def forward(self, x):
        return self.norm.forward(self.conv(x)) + self.norm(self.conv.forward(x))


class HeldInAList(Layers):
    """Replaced children would still be called here, in their old form."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = [self.conv, self.norm]

    def forward(self, x):
        for step in self.steps:
            x = step(x)
        return self.last(x)


class BatchStatistics(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        return self.norm(self.conv(x))


class WeightNormed(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(self.conv)

    def forward(self, x):
        return self.norm(self.conv(x))


class Standardised(nn.Conv2d):
    """A kernel that is normalised at each call forgets a scale put into it."""

    def forward(self, x):
        kernel = self.weight / self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, kernel, self.bias, self.stride, self.padding)


class StandardisedKernel(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.conv = Standardised(4, 4, 3, padding=1)

    def forward(self, x):
        return self.norm(self.conv(x))


class Doubling(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) * 2


class NormThatDoesMore(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.norm = Doubling(4)

    def forward(self, x):
        return self.norm(self.conv(x))


@pytest.mark.parametrize(
    "model",
    [
        OutputUsedTwice(),
        OutputReturned(),
        OutputReturnedInADataclass(),
        OutputChangedInPlace(),
        OutputSeenThroughAView(),
        NormSharedByTwo(),
        NormOfSomethingElseToo(),
        ConvolutionWithoutNormToo(),
        ActivationBetween(),
        NormFirst(),
        WeightRead(),
        NormWeightRead(),
        CalledAsFunctions(),
        HeldInAList(),
        BatchStatistics(),
        WeightNormed(),
        StandardisedKernel(),
        NormThatDoesMore(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_is_not_proven_stays(model):
    assert norms_in(folded_and_checked(model)) == (["norm"] if not isinstance(model, BatchStatistics) else [])
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_modules_with_hooks_stay_and_hooks_see_what_they_saw():
    model = Chain()
    seen = []
    model.conv.register_forward_hook(lambda module, args, output: seen.append(output))
    assert norms_in(folded_and_checked(model)) == ["norm"]
    assert all(torch.equal(output, seen[0]) for output in seen)


class Chain(Layers):
    def forward(self, x):
        return self.last(self.norm(self.conv(x)))


class SamePadding(nn.Conv2d):
    """Padding that depends on the input's size, as TensorFlow's and timm's ``Conv2dSame``."""

    def forward(self, x):
        pads = []
        for size, kernel, stride in zip(x.shape[:-3:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride)


def test_a_foreign_class_that_convolves_folds_and_stays_its_class():
    model = Chain()
    model.conv = SamePadding(4, 4, 3, 2, bias=False)
    folded = folded_and_checked(model)
    assert norms_in(folded) == []
    assert type(folded.conv) is SamePadding


def test_synchronised_and_frozen_batch_norms_fold():
    frozen = pytest.importorskip("torchvision").ops.FrozenBatchNorm2d
    for norm in (nn.SyncBatchNorm(4), frozen(4)):
        model = Chain()
        model.norm = norm
        assert norms_in(folded_and_checked(model)) == []


def test_one_module_under_two_names_is_replaced_under_both():
    model = Chain()
    model.second_name = nn.ModuleDict({"norm": model.norm, "conv": model.conv})
    folded = folded_and_checked(model)
    assert norms_in(folded) == []
    assert folded.second_name["conv"] is folded.conv


def test_activation_and_drop_of_a_foreign_batch_norm_survive():
    layers = pytest.importorskip("timm.layers")
    model = Chain()
    model.norm = layers.BatchNormAct2d(4, act_layer=nn.SiLU, drop_layer=nn.Dropout)
    folded = folded_and_checked(model)
    assert [(name, type(layer)) for name, layer in folded.norm.named_children()] == [
        ("drop", nn.Dropout),
        ("act", nn.SiLU),
    ]
    model.norm = layers.BatchNormAct2d(4, apply_act=False)
    assert type(folded_and_checked(model).norm) is nn.Identity


class Deploying(nn.Module):
    """A block of another library that merges its two paths in place, and makes its convolution without a type."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.merged: nn.Conv2d | None = None

    def forward(self, x):
        return self.left(x) + self.right(x) if self.merged is None else self.merged(x)

    def reparameterize(self):
        if self.merged is not None:
            return
        self.merged = nn.Conv2d(4, 4, 1)
        self.merged.weight.data.copy_(self.left.weight + self.right.weight)
        self.merged.bias.data.copy_(self.left.bias + self.right.bias)
        del self.left, self.right


def test_methods_of_other_libraries_are_used_and_keep_float64():
    folded = folded_and_checked(nn.Sequential(Deploying(), nn.BatchNorm2d(4)))
    assert folded[0].merged.weight.dtype == torch.float64
    assert sum(isinstance(module, nn.Conv2d) for module in folded.modules()) == 1
    assert torch.get_default_dtype() == torch.float32


def test_what_is_only_called_fuse_is_not_a_fold():
    class Fusing(Chain):
        def fuse(self, left, right):
            return left + right

        def forward(self, x):
            return self.fuse(super().forward(x), x)

    class Child(Chain):
        def __init__(self):
            super().__init__()
            self.fuse = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.fuse(super().forward(x))

    for model in (Fusing(), Child()):
        assert norms_in(folded_and_checked(model)) == []


class TwoInputs(Chain):
    def forward(self, x, y):
        return super().forward(x + y)


def test_a_network_that_no_picture_suits_asks_for_an_example():
    model = randomise(TwoInputs())
    with pytest.raises(ConfigError, match=r"TwoInputs .* give an input that it takes as `example`"):
        fold(model)
    folded = fold(model, (image(), image()))
    assert norms_in(folded) == []
    assert_same(folded(image(), image()), model(image(), image()))


def test_a_network_without_anything_to_fold_is_never_run():
    class Never(nn.Module):
        def forward(self, x):
            raise RuntimeError

    assert is_folded(fold(nn.Sequential(nn.Conv2d(3, 4, 3), Never())))
    assert is_folded(fold(nn.Sequential(nn.BatchNorm2d(3), Never())))


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_pictures_are_made_up_without_an_example(channels):
    model = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))
    randomise(model)
    assert not is_folded(model)
    state = torch.get_rng_state()
    folded = fold(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert is_folded(folded)
    x = image(channels)
    assert_same(folded(x), model(x))


def test_a_network_on_the_meta_device_is_folded_by_its_shapes():
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert norms_in(fold(model)) == []


def test_modes_of_the_model_given_stay():
    model = Chain().train()
    model.norm.eval()
    fold(model, image().float())
    is_folded(model, image().float())
    assert [module.training for module in (model, model.conv, model.norm)] == [True, True, False]


def test_not_folded_is_told_from_folded():
    for left, right in itertools.product((Chain(), NormFirst()), repeat=2):
        model = nn.Sequential(left, right)
        assert is_folded(model, image().float()) == all(isinstance(part, NormFirst) for part in (left, right))

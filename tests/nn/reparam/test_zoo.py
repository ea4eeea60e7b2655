"""Networks of torchvision and timm, with random statistics: folded, branched, trained and folded, outputs are the same.

float64 to 1e-9 and float32 to 1e-5, of the largest output.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ghostyolo.errors import ConfigError
from ghostyolo.nn.reparam import RepConv, add_branches, fold, is_folded
from tests.nn.reparam.trained import assert_same, flat, norms_in, randomise, train_steps

torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")

# name: (side of the picture, batch norms left after folding, containers that add_branches makes)
TORCHVISION = {
    "mobilenet_v2": (32, 0, 51),
    "shufflenet_v2_x0_5": (32, 0, 55),
    "resnet18": (64, 0, 3),
    "mnasnet0_5": (64, 0, 51),
    "mobilenet_v3_small": (64, 0, 33),
    "squeezenet1_1": (32, 0, 0),
    "densenet121": (64, 62, 58),
    "googlenet": (64, 2, 37),
    "efficientnet_b0": (64, 0, 48),
    "regnet_y_400mf": (64, 0, 36),
    "lraspp_mobilenet_v3_large": (64, 0, 46),
    "maxvit_t": (224, 11, 22),
}
TIMM = {
    "mobilenetv3_small_050": (32, 0, 33),  # BatchNormAct2d
    "mobilenetv4_conv_small_050": (64, 0, 43),
    "tf_mobilenetv3_small_minimal_100": (64, 0, 33),  # padding by the size of the input
    "efficientnet_lite0": (64, 0, 48),
    "ghostnet_050": (64, 0, 79),
    "ghostnetv3_050": (64, 0, None),  # branches of its own
    "repvgg_a0": (64, 0, 0),  # branches of its own
    "mobileone_s0": (64, 0, 0),  # branches of its own
    "fastvit_t8": (64, 0, None),  # branches of its own
    "repvit_m0_9": (64, 0, None),  # fuse() of its own
    "shvit_s1": (64, 0, None),  # fuse() of its own
    "levit_128s": (224, 0, 0),  # fuse() of its own
    "mobilevit_xxs": (64, 0, 25),
    "resnetv2_18": (64, 9, 0),  # norms before convolutions
    "resnet26t": (64, 0, 20),
    "hrnet_w18_small": (64, 0, None),
    "mixnet_s": (64, 34, 14),  # several convolutions to one norm
    "lambda_resnet26t": (64, 9, None),
    "hgnetv2_b0": (64, 0, None),
    "dla60_res2net": (64, 0, None),
    "starnet_s050": (64, 1, None),
}
QUICK = ("mobilenet_v2", "shufflenet_v2_x0_5", "squeezenet1_1", "mobilenetv3_small_050")
each_network = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in (*TORCHVISION, *TIMM)],
)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name in TIMM:
        return timm.create_model(name, num_classes=10)
    options = {"weights_backbone": None} if name.startswith("lraspp") else {}
    options |= {"init_weights": True} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, num_classes=10, **options)


def picture(name: str) -> torch.Tensor:
    side = {**TORCHVISION, **TIMM}[name][0]
    return torch.rand(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@each_network
def test_folding_is_exact(name):
    model = randomise(build(name))
    x = picture(name)
    folded = fold(model)
    with torch.no_grad():
        assert_same(folded(x), model(x))
        assert_same(fold(folded)(x), model(x))
        assert_same(folded.float()(x.float()), model.float()(x.float()), 1e-5)
    assert is_folded(folded)
    assert len(norms_in(folded)) == {**TORCHVISION, **TIMM}[name][1]


@each_network
def test_branches_keep_outputs_and_fold_after_training(name):
    model = randomise(build(name))
    x = picture(name)
    expected = {**TORCHVISION, **TIMM}[name][2]
    if expected == 0:
        with pytest.raises(ConfigError, match="no convolution with a batch norm to add branches to"):
            add_branches(model, n=2, example=x)
        return
    branched = add_branches(model, n=2, example=x)
    before = sum(isinstance(module, RepConv) for module in model.modules())
    added = sum(isinstance(module, RepConv) for module in branched.modules()) - before
    if expected is not None:
        assert added == expected
    assert added > 0
    with torch.no_grad():
        assert_same(branched(x), model(x))
        folded = fold(branched, x)
        assert_same(folded(x), model(x))
        assert_same(folded.float()(x.float()), model(x).float(), 1e-5)
    train_steps(branched, x, steps=2, lr=1e-4)
    folded = fold(branched, x)
    with torch.no_grad():
        assert not torch.allclose(flat(folded(x))[0], flat(model(x))[0])
        assert_same(folded(x), branched(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_detectors_of_torchvision_fold(name):
    """Their boxes may change places by rounding; the maps of the backbone and the raw head may not."""
    model = randomise(torchvision.models.get_model(name, weights=None, weights_backbone=None))
    folded = fold(model)
    assert is_folded(folded)
    x = torch.rand(1, 3, 320, 320, dtype=torch.float64)
    with torch.no_grad():
        maps, folded_maps = model.backbone(x), folded.backbone(x)
        assert_same(folded_maps, maps)
        if name.startswith("ssd"):
            assert_same(folded.head(list(folded_maps.values())), model.head(list(maps.values())))

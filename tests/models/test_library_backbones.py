"""Backbones of timm and torchvision: each stride's deepest map, nothing that does not run, refusals are one line."""

from __future__ import annotations

import re

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.losses.registry import build_criterion
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models import build_model
from ghostyolo.models.backbones import libraries
from ghostyolo.models.backbones.library_adapter import FeatureList, LibraryBackbone
from ghostyolo.models.backbones.pretrained import load_backbone
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.count import count_parameters
from ghostyolo.models.registry import build_part, find_part
from ghostyolo.models.weights import load_checkpoint, save_checkpoint
from ghostyolo.nn.reparam import fold

STRIDES = (8, 16, 32)


def part(kind: str, in_channels: int = 3, **params) -> nn.Module:
    return build_part("backbone", kind, params, {"in_channels": in_channels})


def detector(backbone: dict, in_channels: int = 3):
    neck = {"type": "hyperace_fullpad", "depth": 0.5, "width": 0.125, "hyperedges": 4}
    config = DetectorConfig.from_dict({"backbone": backbone, "neck": neck, "head": "dfl"}, "test")
    return build_model(config, num_classes=3, in_channels=in_channels)


def sizes(maps) -> list[tuple[int, ...]]:
    return [tuple(level.shape[2:]) for level in maps]


# The blocks of each network, by the name patterns of the library's modules, written down from the papers' tables: what
# follows the last of them (MobileNetV3's 1x1 to 960, MobileNetV2's to 1280, pooling, classifier) is the head. Channels
# of the last block at strides 8, 16, 32 are the papers' too.
TIMM_BLOCKS = {
    "mobilenetv1_100": (r"blocks\.\d+\.\d+", (256, 512, 1024)),
    "mobilenetv2_100": (r"blocks\.\d+\.\d+", (32, 96, 320)),
    "mobilenetv3_large_100": (r"blocks\.[0-5]\.\d+", (40, 112, 160)),
    "mobilenetv3_small_100": (r"blocks\.[0-4]\.\d+", (24, 48, 96)),
    "mobilenetv3_large_150d": (r"blocks\.[0-5]\.\d+", (64, 168, 240)),
    "mobilenetv4_conv_small": (r"blocks\.[0-3]\.\d+", (64, 96, 128)),
    "mobilenetv4_hybrid_medium": (r"blocks\.[0-3]\.\d+", (80, 160, 256)),
    "mnasnet_100": (r"blocks\.\d+\.\d+", (40, 96, 320)),
    "mobilevit_xxs": (r"stages\.\d+\.\d+", (48, 64, 80)),
    "repghostnet_100": (r"blocks\.[0-8]\.\d+", (40, 112, 160)),
    "resnet50": (r"layer\d\.\d+", (512, 1024, 2048)),
    "ghostnetv3_100": (r"blocks\.[0-8]\.\d+", (40, 112, 160)),
    "mobileone_s0": (r"stages\.\d+\.\d+", (128, 256, 1024)),
    "legacy_xception": (r"block\d+|act4", (256, 728, 2048)),
}
TORCHVISION_BLOCKS = {
    "shufflenet_v2_x1_0": (r"stage[2-4]\.\d+", (116, 232, 464)),
    "mobilenet_v2": (r"features\.([1-9]|1[0-7])", (32, 96, 320)),
    "mobilenet_v3_large": (r"features\.([1-9]|1[0-5])", (40, 112, 160)),
    "mnasnet0_5": (r"layers\.(8|9|1[0-3])\.\d+", (24, 48, 160)),
    "efficientnet_b0": (r"features\.[1-7]\.\d+", (40, 112, 320)),
    "densenet121": (r"features\.(denseblock\d|norm5)", (512, 1024, 1024)),
}
LARGE = {
    "mobilenetv4_hybrid_medium", "mobilenetv3_large_150d", "legacy_xception", "densenet121", "resnet50", "mobileone_s0",
    "efficientnet_b0",
}  # fmt: skip


def last_block_maps(net: nn.Module, pattern: str, image: torch.Tensor) -> dict[int, torch.Tensor]:
    """The last map of each stride that leaves a block, by hooks on the library's whole network."""
    found: dict[int, torch.Tensor] = {}

    def keep(module, args, output):
        found[image.shape[2] // output.shape[2]] = output.clone()

    handles = [
        module.register_forward_hook(keep) for path, module in net.named_modules() if re.fullmatch(pattern, path)
    ]
    assert handles
    with torch.no_grad():
        net(image)
    for handle in handles:
        handle.remove()
    return found


def networks(table, library):
    return [
        pytest.param(library, name, *row, id=f"{library}-{name}", marks=pytest.mark.slow if name in LARGE else ())
        for name, row in table.items()
    ]


@pytest.mark.parametrize(
    ("library", "name", "pattern", "channels"),
    [*networks(TIMM_BLOCKS, "timm"), *networks(TORCHVISION_BLOCKS, "torchvision")],
)
def test_features_are_the_last_blocks_of_the_whole_network_and_nothing_else_is_kept(library, name, pattern, channels):
    torch.manual_seed(0)
    net = (timm.create_model(name) if library == "timm" else torchvision.models.get_model(name)).eval()
    backbone = part(library, name=name).eval()
    assert backbone.channels == channels
    own, whole = backbone.net.state_dict(), net.state_dict()
    assert set(own) < set(whole)
    backbone.net.load_state_dict({key: whole[key] for key in own})
    image = torch.rand(1, 3, 64, 96)
    expected = last_block_maps(net, pattern, image)
    maps = backbone(image)
    assert sizes(maps) == [(8, 12), (4, 6), (2, 3)]
    for stride, level in zip(STRIDES, maps, strict=True):
        torch.testing.assert_close(level, expected[stride])
    # A head has no say in the maps: no gradient would reach it.
    sum(level.square().sum() for level in maps).backward()
    assert not [key for key, parameter in backbone.named_parameters() if parameter.grad is None]


def test_timm_s_own_features_are_the_first_blocks_of_ghostnets():
    """The trap that the adapter is there for; when timm changes, the docs page should too."""
    for name in ("ghostnet_100", "repghostnet_100"):
        with torch.device("meta"):
            theirs = timm.create_model(name, features_only=True, out_indices=(2, 3, 4)).feature_info.channels()
            ours = part("timm", name=name).channels
        assert (theirs, ours) == ([40, 80, 160], (40, 112, 160))


def test_squeezenet_gets_a_stage_at_stride_32_and_exact_sizes():
    torch.manual_seed(0)
    backbone = part("squeezenet", variant="v1.1").eval()
    assert backbone.channels == (256, 512, 512)
    image = torch.rand(1, 3, 96, 160)
    fires = last_block_maps(backbone, r"net\.features\.\d+", image)
    maps = backbone(image)
    assert sizes(maps) == [(12, 20), (6, 10), (3, 5)]
    for stride, level in zip(STRIDES, maps, strict=True):
        torch.testing.assert_close(level, fires[stride])
    # All of torchvision's own weights are there: its first convolution and its eight Fire modules.
    theirs = {key for key in torchvision.models.get_model("squeezenet1_1").state_dict() if key.startswith("features.")}
    assert theirs < set(backbone.net.state_dict())


@pytest.mark.parametrize("in_channels", [1, 4])
@pytest.mark.parametrize(("kind", "params"), [("mobilenetv2", {"variant": "x0.35"}), ("shufflenetv2", {}),
                                              ("squeezenet", {})])  # fmt: skip
def test_any_number_of_image_channels(kind, params, in_channels):
    backbone = part(kind, in_channels, **params).eval()
    assert sizes(backbone(torch.rand(1, in_channels, 32, 64))) == [(4, 8), (2, 4), (1, 2)]


def test_a_pretrained_first_convolution_sees_grey_as_three_equal_colours():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1)))
    grey = torch.rand(2, 1, 8, 8)
    expected = net(grey.expand(-1, 3, -1, -1))
    libraries._replace_first_convolution(net, 1, keep_weights=True)
    assert net[0][0].in_channels == 1
    torch.testing.assert_close(net(grey), expected)


FRIENDLY = ["mobilenetv1", "mobilenetv2", "mobilenetv3", "mobilenetv4", "mnasnet", "shufflenetv2", "mobilevit",
            "repghostnet", "resnet50", "squeezenet", "mobilenext", "shufflenetv1", "mobileformer"]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        name if name in ("mobilenetv3", "shufflenetv2") else pytest.param(name, marks=pytest.mark.slow)
        for name in FRIENDLY
    ],
)
def test_a_detector_on_it_runs_learns_and_folds(kind):
    torch.manual_seed(0)
    model = detector({"type": kind, **dict(find_part("backbone", kind).scales.get("p", {}))})
    targets = Targets.from_lists([torch.tensor([[4.0, 8.0, 40.0, 60.0]])] * 2, [torch.tensor([1])] * 2)
    loss = build_criterion("dfl", model.head)(model.train()(torch.rand(2, 3, 64, 64)), targets)["loss"]
    loss.backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    model = model.double().eval()
    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        for found, expected in zip(fold(model)(image), model(image), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


# Millions of parameters: timm has no MobileNetV1 below 3.2 and no MobileNetV4 between 1.1 and 7.
OUTSIDE = {("mobilenetv1", "n"): 3.21, ("mobilenetv4", "s"): 6.96}


@pytest.mark.parametrize("kind", [kind for kind in FRIENDLY if kind not in ("resnet50", "squeezenet")])
def test_the_scales_n_and_s_have_backbones_of_that_size(kind):
    scales = find_part("backbone", kind).scales
    assert set(scales) == set("pnsmlx")
    for letter, low, high in (("n", 1.0, 2.5), ("s", 2.6, 5.0)):
        with torch.device("meta"):
            millions = count_parameters(part(kind, **scales[letter])) / 1e6
        if (kind, letter) in OUTSIDE:
            assert millions == pytest.approx(OUTSIDE[kind, letter], abs=0.005)
        else:
            assert low <= millions <= high, (letter, millions)


@pytest.mark.parametrize("kind", libraries.SIZES)
def test_every_variant_is_a_network_of_the_library_and_every_scale_a_variant(kind):
    table = libraries.SIZES[kind].names
    listed = torchvision.models.list_models() if kind == "shufflenetv2" else timm.list_models()
    assert set(table.values()) <= set(listed)
    assert {params["variant"] for params in find_part("backbone", kind).scales.values()} <= set(table)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "frozen"), [("hrnet_w18_small", True), ("mambaout_femto", False), ("selecsls42b", False)]
)
def test_a_network_that_is_no_chain_gives_its_library_s_maps(name, frozen):
    torch.manual_seed(0)
    backbone = part("timm", name=name)
    assert isinstance(backbone, FeatureList)
    maps = backbone(torch.rand(1, 3, 96, 160))
    assert [tuple(level.shape) for level in maps] == [
        (1, channels, 96 // stride, 160 // stride) for channels, stride in zip(backbone.channels, STRIDES, strict=True)
    ]
    sum(level.sum() for level in maps).backward()
    without = [parameter for parameter in backbone.parameters() if parameter.grad is None]
    # HRNet's last fusion also makes a map at stride 4, which nobody takes.
    assert bool(without) == frozen
    assert not any(parameter.requires_grad for parameter in without)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"type": "timm"}, "backbone 'timm' needs its parameter 'name'"),
        ({"type": "timm", "name": "mobilenetv9"}, "timm has no model 'mobilenetv9': did you mean mobilenetv"),
        ({"type": "timm", "name": "???"}, r"timm.list_models\(\) has the valid ones"),
        ({"type": "timm", "name": "vit_tiny_patch16_224"},
         "'timm: vit_tiny_patch16_224' cannot take a picture of 96 x 160 .*such as mobilenetv2"),
        ({"type": "timm", "name": "mobilevitv2_050"}, r"maps of .*\(256, 4, 6\).* where necks need exactly .*\(3, 5\)"),
        ({"type": "timm", "name": "convmixer_768_32"}, "has no maps of exactly 1/8, 1/16 and 1/32"),
        ({"type": "torchvision", "name": "squeezenet1_1"}, "has no maps of exactly .* such as mobilenetv2"),
        ({"type": "torchvision", "name": "mobilenet_v9"}, "torchvision has no classifier 'mobilenet_v9': did you mean"),
        ({"type": "torchvision", "name": "fasterrcnn_resnet50_fpn"}, "torchvision has no classifier"),
        ({"type": "mobilenetv2", "variant": 0.5}, r"'mobilenetv2' has no variant '0.5': did you mean x0.5"),
        ({"type": "mobilevit", "variant": "sx"}, r"'mobilevit' has no variant 'sx'.*xs"),
        ({"type": "squeezenet", "variant": "v2"}, r"'squeezenet' has no variant 'v2'.*v1"),
        ({"type": "mobilenetv2", "width": 0.5}, r"backbone 'mobilenetv2' has no parameter 'width'"),
    ],
)  # fmt: skip
def test_a_wrong_choice_is_one_line_that_names_it_and_valid_ones(backbone, message):
    with pytest.raises(ConfigError, match=message) as caught, torch.device("meta"):
        detector(backbone)
    assert "\n" not in str(caught.value)


def test_pretrained_without_a_network_says_what_to_do(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    def unreachable(*args, **kwargs):
        raise OSError("no route to host\nand more lines")

    monkeypatch.setattr("torchvision._internally_replaced_utils.load_state_dict_from_url", unreachable)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    for backbone in ({"type": "mobilenetv2"}, {"type": "timm", "name": "mobilenetv1_100h"}, {"type": "shufflenetv2"}):
        with pytest.raises(WeightsError, match=r"no pretrained weights for backbone .*backbone_weights") as caught:
            detector({**backbone, "pretrained": True})
        assert "\n" not in str(caught.value)


def test_a_checkpoint_of_a_detector_that_began_pretrained_loads_without_the_library_s_weights(monkeypatch, tmp_path):
    asked = []
    create = timm.create_model

    def fetched(name, pretrained=False, **kwargs):
        asked.append(pretrained)
        return create(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", fetched)
    model = detector({"type": "mobilenetv3", "variant": "small_x0.5", "pretrained": True}).eval()
    save_checkpoint(
        model, ModelMetadata(model="custom", class_names=["a", "b", "c"], imgsz=64), tmp_path / "m.safetensors"
    )
    loaded, _ = load_checkpoint(tmp_path / "m.safetensors")
    assert asked == [True, False]
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(image)[0], model(image)[0])


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_s_weights_file_loads_into_a_detector(tmp_path, library):
    torch.manual_seed(0)
    kind = {"timm": "mobilenetv3", "torchvision": "shufflenetv2"}[library]
    variant = {"timm": "small_x0.5", "torchvision": "x0.5"}[library]
    net = {"timm": lambda: timm.create_model("mobilenetv3_small_050"),
           "torchvision": lambda: torchvision.models.shufflenet_v2_x0_5()}[library]()  # fmt: skip
    path = tmp_path / "weights.safetensors"
    save_file(net.state_dict(), path)
    model = detector({"type": kind, "variant": variant})
    assert load_backbone(model, path) > 100
    own = model.backbone.net.state_dict()
    assert all(torch.equal(own[key], value) for key, value in net.state_dict().items() if key in own)
    # Another number of image channels: the first convolution starts afresh, the rest is loaded.
    grey = detector({"type": kind, "variant": variant}, in_channels=1)
    fresh = grey.backbone.net.get_submodule(grey.backbone.first_convolution).weight.clone()
    load_backbone(grey, path)
    assert torch.equal(grey.backbone.net.get_submodule(grey.backbone.first_convolution).weight, fresh)
    other = detector({"type": "mnasnet", "variant": "x0.5"})
    with pytest.raises(WeightsError, match="is of another backbone"):
        load_backbone(other, path)


def test_a_network_whose_constructor_reads_tensors_can_be_counted_on_shapes_too():
    """torchvision's RegNets do, with which "meta" alone fails."""
    with torch.device("meta"):
        backbone = part("torchvision", name="regnet_y_400mf")
    assert backbone.channels == (104, 208, 440)
    assert all(parameter.device.type == "meta" for parameter in backbone.parameters())


def test_the_adapter_is_what_the_friendly_names_make():
    with torch.device("meta"):
        assert isinstance(part("mobilenetv4"), LibraryBackbone)

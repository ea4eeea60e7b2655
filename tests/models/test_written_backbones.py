"""MobileNeXt, ShuffleNet and Mobile-Former: published sizes, their own arithmetic, exact folding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ghostyolo.errors import ConfigError
from ghostyolo.models.backbones.mobileformer import VARIANTS, MobileFormer, MobileFormerClassifier
from ghostyolo.models.backbones.mobilenext import MobileNeXt, MobileNeXtClassifier, Sandglass
from ghostyolo.models.backbones.shufflenetv1 import ShuffleNetV1, ShuffleNetV1Classifier, ShuffleUnit, shuffle_channels
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.nn.mobileformer import MapToTokens, MobileFormerBlock, TokenMixer, TokenReLU, TokensToMap
from ghostyolo.nn.reparam import fold, is_folded

SMALL = {
    "mobilenext": lambda channels=3: MobileNeXt(0.35, channels),
    "shufflenetv1": lambda channels=3: ShuffleNetV1(0.5, 3, channels),
    "mobileformer": lambda channels=3: MobileFormer("52m", channels),
}


def macs_and_parameters(network: nn.Module) -> tuple[float, float]:
    """In millions, of one picture of 224 x 224."""
    return count_macs(network, 224) / 1e6, count_parameters(network) / 1e6


@pytest.mark.parametrize(
    ("width", "macs", "params"), [(0.35, 80, 1.8), (0.5, 110, 2.1), (0.75, 210, 2.5), (1.0, 300, 3.4), (1.4, 590, 6.1)]
)
def test_mobilenext_has_the_published_size(width, macs, params):
    """arXiv 2007.02269, table 3; the authors' repository says 3.5 M for 1.0. Rounded there, 0.75 by the most (2.77)."""
    with torch.device("meta"):
        counted = macs_and_parameters(MobileNeXtClassifier(width))
    assert counted == (pytest.approx(macs, rel=0.065), pytest.approx(params, rel=0.11))


@pytest.mark.parametrize(("groups", "macs"), [(1, 143), (2, 140), (3, 137), (4, 133), (8, 137)])
def test_shufflenet_has_the_published_complexity_at_every_grouping(groups, macs):
    """arXiv 1707.01083, table 2, ShuffleNet 1x."""
    with torch.device("meta"):
        counted, _ = macs_and_parameters(ShuffleNetV1Classifier(1.0, groups))
    assert counted == pytest.approx(macs, rel=0.011)


@pytest.mark.parametrize(("width", "macs"), [(0.25, 13), (0.5, 38), (2.0, 524)])
def test_shufflenet_has_the_published_complexity_at_other_widths(width, macs):
    """arXiv 1707.01083, tables 2 and 5, groups of 3."""
    with torch.device("meta"):
        counted, _ = macs_and_parameters(ShuffleNetV1Classifier(width))
    assert counted == pytest.approx(macs, rel=0.03)


@pytest.mark.parametrize(
    ("variant", "macs", "params"),
    [
        ("52m", 52, 3.5),
        ("96m", 96, 4.6),
        ("151m", 151, 7.6),
        ("214m", 214, 9.4),
        ("294m", 294, 11.4),
        ("508m", 508, 14.0),
    ],
)
def test_mobileformer_has_the_published_size(variant, macs, params):
    """arXiv 2108.05895, table 3. Parameters agree as printed; we count 2 to 6 % fewer multiply-adds, always fewer."""
    with torch.device("meta"):
        counted_macs, counted_params = macs_and_parameters(MobileFormerClassifier(variant))
    assert counted_params == pytest.approx(params, abs=0.05)
    assert 0.94 * macs < counted_macs < macs


@pytest.mark.parametrize("kind", list(SMALL))
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 64, 96), (1, 32, 32), (5, 96, 32)])
def test_maps_are_the_last_blocks_at_exact_sizes(kind, channels, height, width):
    backbone = SMALL[kind](channels).eval()
    outputs = {}
    for index, stage in enumerate(backbone.stages):
        stage.register_forward_hook(lambda module, args, output, index=index: outputs.__setitem__(index, output))
    maps = backbone(torch.rand(2, channels, height, width))
    expected = [(2, count, height // s, width // s) for count, s in zip(backbone.channels, (8, 16, 32), strict=True)]
    assert [tuple(level.shape) for level in maps] == expected
    for level, index in zip(maps, (2, 3, 4), strict=True):
        held = outputs[index][0] if kind == "mobileformer" else outputs[index]
        assert level is held


@pytest.mark.parametrize("kind", list(SMALL))
def test_every_parameter_works_for_the_maps(kind):
    torch.manual_seed(0)
    backbone = SMALL[kind]()
    sum(level.square().sum() for level in backbone(torch.rand(2, 3, 64, 64))).backward()
    assert not [name for name, parameter in backbone.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("kind", list(SMALL))
def test_it_folds_exactly(kind):
    torch.manual_seed(0)
    backbone = SMALL[kind]().double().eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    folded = fold(backbone)
    assert is_folded(folded)
    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        for found, expected in zip(folded(image), backbone(image), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_shuffle_deals_the_groups_out_in_turn():
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert shuffle_channels(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    x = torch.rand(2, 24, 3, 5)
    assert torch.equal(shuffle_channels(x, 4), nn.ChannelShuffle(4)(x))


def test_a_strided_shuffle_unit_keeps_the_mean_of_its_input_beside_the_new_channels():
    unit = ShuffleUnit(12, 60, 2, 3).eval()
    x = torch.rand(1, 12, 6, 6)
    output = unit(x)
    assert output.shape == (1, 60, 3, 3)
    torch.testing.assert_close(output[:, :12], F.avg_pool2d(x, 3, 2, 1))


def test_a_sandglass_adds_its_input_only_where_asked():
    torch.manual_seed(0)
    block = Sandglass(32, 32, 1, 6, enter=True, leave=True, identity=True).eval()
    x = torch.rand(1, 32, 5, 5)
    with_identity = block(x)
    block.identity = False
    torch.testing.assert_close(with_identity, x + block(x))
    # A sixth of 32 is 5, but a waist narrower than a sixth of the output is rounded up to a multiple of 16.
    assert block.reduce.conv.out_channels == 16


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("width", [0.25, 0.35, 1.27, 3.0])
def test_groups_divide_the_channels_at_any_width(groups, width):
    with torch.device("meta"):
        maps = ShuffleNetV1(width, groups)(torch.empty(1, 3, 64, 64))
    assert all(level.shape[1] % (4 * groups) == 0 for level in maps)


def attention(query, key, value, heads):
    """Multi-head attention, one head and one query at a time."""
    width = query.shape[-1] // heads
    rows = []
    for row in query:
        parts = []
        for head in range(heads):
            cut = slice(head * width, (head + 1) * width)
            scores = torch.stack([(row[cut] * other[cut]).sum() for other in key]) / width**0.5
            parts.append((scores.softmax(0)[:, None] * value[:, cut]).sum(0))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def test_the_bridges_are_attention_between_pixels_and_tokens():
    torch.manual_seed(0)
    x, tokens = torch.rand(1, 8, 2, 3), torch.rand(1, 4, 16)
    pixels = x[0].flatten(1).T
    bridge = MapToTokens(8, 16)
    seen = attention(bridge.query(tokens[0]), pixels, pixels, heads=2)
    gated = seen * 2 * F.hardsigmoid(bridge.gate(tokens[0]))
    torch.testing.assert_close(bridge(x, tokens)[0], bridge.norm(tokens[0] + bridge.project(gated)))

    back = TokensToMap(8, 16)
    seen = attention(pixels, back.key(tokens[0]), back.value(tokens[0]), heads=2)
    torch.testing.assert_close(back(x, tokens)[0], x[0] + seen.T.view(8, 2, 3))


def test_the_tokens_attend_to_each_other():
    torch.manual_seed(0)
    mixer, tokens = TokenMixer(16), torch.rand(2, 3, 16)
    mixed = mixer(tokens)
    for own, found in zip(tokens, mixed, strict=True):
        first = mixer.norm(own + mixer.project(attention(mixer.query(own), own, own, heads=4)))
        torch.testing.assert_close(found, mixer.mlp_norm(first + mixer.mlp(first)))


def test_the_token_relu_starts_as_a_relu_of_the_first_token():
    act = TokenReLU(4, 8)
    for parameter in act.parameters():
        nn.init.zeros_(parameter)  # slopes in the middle of their range: 1 and 0
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(act(x, torch.rand(2, 5, 8)), x.relu())
    torch.manual_seed(0)
    act, tokens = TokenReLU(4, 8), torch.rand(2, 5, 8)
    changed = tokens.clone()
    changed[:, 1:] += 1
    assert torch.equal(act(x, tokens), act(x, changed))
    changed[:, 0] += 5
    assert not torch.equal(act(x, tokens), act(x, changed))


def test_map_and_tokens_change_each_other():
    torch.manual_seed(0)
    block = MobileFormerBlock(8, 8, 2, 16).eval()
    x, tokens = torch.rand(1, 8, 4, 4), torch.rand(1, 3, 16)
    y, z = block((x, tokens))
    assert (y.shape, z.shape) == (x.shape, tokens.shape)
    other_y, other_z = block((x + 1, tokens))
    assert not torch.allclose(other_z, z)
    other_y, _ = block((x, tokens * 2))
    assert not torch.allclose(other_y, y)


def test_pictures_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    backbone = MobileFormer("52m").eval()
    images = torch.rand(2, 3, 64, 64)
    alone = [backbone(images[index : index + 1])[-1] for index in range(2)]
    torch.testing.assert_close(backbone(images)[-1], torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MobileFormer("100m"), "'mobileformer' has no variant '100m': did you mean .*508m"),
        (lambda: MobileNeXt(0.05), "'mobilenext': width 0.05 leaves too few channels"),
        (lambda: ShuffleNetV1(0.1), "'shufflenetv1': width 0.1 leaves too few channels"),
        (lambda: ShuffleNetV1(1.0, 5), "'shufflenetv1' has no groups 5: valid: 1, 2, 3, 4, 8"),
    ],
)
def test_an_impossible_size_is_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_every_variant_takes_tokens_that_its_heads_divide():
    for sizes in VARIANTS.values():
        assert sizes.token_dim % 4 == 0
        assert all(block[0] % 2 == 0 for block in sizes.blocks)

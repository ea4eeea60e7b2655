"""GhostNet V1, V2, V3 are timm's (and the authors'): weights, outputs, sizes."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.models import build_model
from ghostyolo.models.backbones.ghostnet import GhostNet
from ghostyolo.models.backbones.pretrained import from_timm, load_backbone
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.nn.reparam import fold, is_folded
from tests.models.networks import ghostnet
from tests.models.pickles.hostile import archive, text_call


def scramble_norms(model: torch.nn.Module) -> None:
    """Batch norm statistics of a trained network, so that folding has something to get wrong."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            count = module.num_features
            module.running_mean.copy_(torch.randn(count, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(count, generator=generator) + 0.5)
            module.weight.data.copy_(torch.rand(count, generator=generator) + 0.5)
            module.bias.data.copy_(torch.randn(count, generator=generator) * 0.1)


@pytest.mark.parametrize("name", ["ghostnet_100", "ghostnetv2_100", "ghostnetv3_050", "ghostnetv3_100"])
def test_timm_weights_give_timm_outputs(name):
    torch.manual_seed(0)
    theirs = timm.create_model(name)
    scramble_norms(theirs)
    ours = ghostnet(name)
    tensors = from_timm(theirs.state_dict(), name)
    expected = {key for key in ours.state_dict() if not key.endswith("num_batches_tracked")}
    assert set(tensors) == expected
    ours.load_state_dict(tensors, strict=False)
    image = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        reference = theirs.eval()(image)
        folded = fold(ours)
        assert is_folded(folded)
        for model in (ours.eval(), folded):
            difference = (model(image) - reference).abs().max()
            assert difference <= 1e-4 * reference.abs().max()
        torch.manual_seed(1)
        in_training = theirs.train()(image)
        torch.manual_seed(1)
        torch.testing.assert_close(ours.train()(image), in_training, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "training_m", "deployed_m", "macs_m"),
    [
        ("ghostnet_100", 5.18, 5.18, 141.2),
        ("ghostnetv2_100", 6.16, 6.16, 167.0),
        ("ghostnetv3_050", 3.40, 2.85, 49.6),
        ("ghostnetv3_100", 8.13, 6.15, 167.0),
        ("ghostnetv3_130", 12.22, 8.95, 269.3),
    ],
)
def test_published_sizes(name, training_m, deployed_m, macs_m):
    with torch.device("meta"):
        model = ghostnet(name)
    assert count_parameters(model) / 1e6 == pytest.approx(training_m, abs=0.006)
    folded = fold(model)
    # The published count folds the branches only; we also fold the batch norms of gates and shortcuts, which
    # turns two parameters a channel into one bias.
    assert 0.99 * deployed_m <= count_parameters(folded) / 1e6 <= deployed_m
    assert count_macs(folded, 224) / 1e6 == pytest.approx(macs_m, rel=0.005)


def test_features_are_of_the_last_block_of_each_stride():
    with torch.device("meta"):
        backbone = GhostNet(1.0)
    assert backbone.channels == (40, 112, 160)
    shapes = [tuple(level.shape) for level in backbone(torch.empty(1, 3, 224, 160, device="meta"))]
    assert shapes == [(1, 40, 28, 20), (1, 112, 14, 10), (1, 160, 7, 5)]


@pytest.mark.parametrize(
    ("width", "attention"),
    [
        (0.25, "dfc"),
        (0.25, "psa"),
        (0.25, "none"),
        (0.45, "psa"),
        (0.5, "none"),
        (1.0, "psa"),
        (1.3, "dfc"),
        (1.6, "none"),
    ],
)
def test_any_width_and_attention_folds_exactly(width, attention):
    torch.manual_seed(0)
    backbone = GhostNet(width, attention, 2).double().eval()
    scramble_norms(backbone)
    image = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        for level, folded in zip(backbone(image), fold(backbone)(image), strict=True):
            torch.testing.assert_close(folded, level, rtol=1e-9, atol=1e-9 * float(level.abs().max()))


def test_a_width_that_leaves_no_channels_is_refused():
    with pytest.raises(ConfigError, match=r"width 0\.01"):
        GhostNet(0.01)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_local_pretrained_files_load_into_a_detector(tmp_path, suffix):
    theirs = timm.create_model("ghostnetv3_050")
    scramble_norms(theirs)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, path)
    else:
        save_file(theirs.state_dict(), path)
    model = build_model("yolov13n-ghostnetv3", num_classes=3, width=0.5)
    assert load_backbone(model, path) > 500
    torch.testing.assert_close(model.backbone.stem.conv.weight, theirs.conv_stem.weight)
    grey = build_model("yolov13n-ghostnetv3", num_classes=3, width=0.5, in_channels=1)
    load_backbone(grey, path)
    torch.testing.assert_close(grey.backbone.stages[0][0].expand.cheap.identity.weight,
                               theirs.blocks[0][0].ghost1.cheap_rpr_skip.weight)  # fmt: skip
    wider = build_model("yolov13n-ghostnetv3", num_classes=3, width=1.0)
    with pytest.raises(WeightsError, match="another backbone"):
        load_backbone(wider, path)


def test_a_pth_that_holds_code_is_refused(tmp_path):
    path = archive(tmp_path / "evil.pth", text_call("os", "system", "ls"))
    model = build_model("yolov13n-ghostnetv3", num_classes=1)
    with pytest.raises(WeightsError, match=r"refused: it would call os\.system"):
        load_backbone(model, path)
    torch.save({"state_dict": torch.nn.Linear(1, 1)}, path)
    with pytest.raises(WeightsError, match="does not hold a GhostNet"):
        load_backbone(model, path)


def test_offline_hub_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    model = build_model("yolov13n-ghostnetv3", num_classes=1)
    with pytest.raises(WeightsError, match="give its path"):
        load_backbone(model, "timm/ghostnetv3_000.none")
    with pytest.raises(WeightsError, match="no such file"):
        load_backbone(model, "missing/file.pth")

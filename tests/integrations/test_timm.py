"""Our backbones answer to timm's public interface, as its training script uses it."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import resolve_model_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3, reparameterize_model
from torch import nn

import ghostyolo.integrations.timm as integration
from ghostyolo.errors import ConfigError
from ghostyolo.models import build_model
from ghostyolo.models.backbones.pretrained import from_timm, load_backbone
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.count import count_parameters

SMALL = ["ghostyolo_ghostnetv1_050", "ghostyolo_ghostnetv3_050", "ghostyolo_ghostnetv3_psa_050",
         "ghostyolo_mobilenext_035", "ghostyolo_shufflenetv1_050", "ghostyolo_mobileformer_52m"]  # fmt: skip

small = pytest.mark.parametrize("name", SMALL)


def test_timm_lists_every_model():
    expected = {
        f"ghostyolo_ghostnet{v}_{w}" for v in ("v1", "v2", "v3", "v3_psa") for w in ("050", "100", "130", "160")
    }
    expected |= {f"ghostyolo_mobilenext_{w}" for w in ("035", "050", "075", "100", "140")}
    expected |= {f"ghostyolo_shufflenetv1_{w}" for w in ("050", "100", "150", "200")}
    expected |= {f"ghostyolo_mobileformer_{s}" for s in ("52m", "96m", "151m", "214m", "294m", "508m")}
    assert set(timm.list_models("ghostyolo_*")) == expected == set(integration.MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(integration.MODELS))
def test_every_model_is_built_and_hands_out_five_maps(name):
    with torch.device("meta"):
        logits = timm.create_model(name, num_classes=7, in_chans=1)(torch.empty(2, 1, 64, 96))
        features = timm.create_model(name, features_only=True)
        maps = features(torch.empty(2, 3, 64, 96))
    assert logits.shape == (2, 7)
    assert features.feature_info.reduction() == [2, 4, 8, 16, 32]
    assert [tuple(level.shape) for level in maps] == [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(features.feature_info.channels(), (2, 4, 8, 16, 32), strict=True)
    ]


@small
def test_a_classifier_has_timm_s_parts(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, in_chans=1).eval()
    image = torch.rand(2, 1, 64, 96)
    features = model.forward_features(image)
    assert features.shape == (2, model.num_features, 2, 3)
    assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
    logits = model(image)
    assert torch.equal(logits, model.forward_head(features))
    assert isinstance(model.get_classifier(), nn.Linear)
    assert (model.get_classifier().in_features, model.num_classes) == (model.head_hidden_size, 10)
    assert model.default_cfg["classifier"] == "classifier"
    assert model.get_submodule(model.default_cfg["first_conv"]).in_channels == 1
    assert resolve_model_data_config(model)["input_size"] == (3, 224, 224)

    model.reset_classifier(3)
    assert model(image).shape == (2, 3)
    model.reset_classifier(0)
    assert torch.equal(model(image), model.forward_head(features, pre_logits=True))
    model.reset_classifier(0, "")
    assert torch.equal(model(image), features)
    assert timm.create_model(name, num_classes=0).eval()(torch.rand(1, 3, 32, 32)).shape == (1, model.head_hidden_size)


@small
def test_features_are_the_last_block_of_each_stride(name):
    """By hooks on the classifier: the last map of each stride that leaves one of the stages' blocks, or the stem."""
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    image = torch.rand(1, 3, 64, 96)
    expected = {}

    def keep(module, args, output):
        output = output[0] if isinstance(output, tuple) else output
        expected[64 // output.shape[2]] = output

    model.backbone.stem.register_forward_hook(keep)
    for stage in model.backbone.stages:
        for block in stage.children() if isinstance(stage, nn.Sequential) else [stage]:
            block.register_forward_hook(keep)
    with torch.no_grad():
        model(image)
    for wanted in ((0, 1, 2, 3, 4), (2, 3), (-2, -1), 2):
        extractor = timm.create_model(name, features_only=True, out_indices=wanted).eval()
        own = {f"model.{key}": value for key, value in model.state_dict().items()}
        extractor.load_state_dict({key: own[key] for key in extractor.state_dict()})
        maps = extractor(image)
        assert len(maps) == len(extractor.feature_info.reduction())
        for level, stride in zip(maps, extractor.feature_info.reduction(), strict=True):
            torch.testing.assert_close(level, expected[stride])
        # Nothing that does not run is left: no head, no stage after the last map.
        sum(level.square().sum() for level in maps).backward()
        assert not [key for key, parameter in extractor.named_parameters() if parameter.grad is None]


def test_a_ghostnet_is_timm_s_by_its_weights():
    torch.manual_seed(0)
    theirs = timm.create_model("ghostnetv3_050").eval()
    ours = timm.create_model("ghostyolo_ghostnetv3_050").eval()
    missing, unexpected = ours.load_state_dict(from_timm(theirs.state_dict(), "timm"), strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)


@small
def test_it_trains_with_timm_s_own_tools(name):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, in_chans=3, num_classes=4, drop_rate=0.1)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=2e-3, weight_decay=0.05, layer_decay=0.8)
    grouped = sum(len(group["params"]) for group in optimizer.param_groups)
    assert grouped == len(list(model.parameters()))
    scheduler, epochs = create_scheduler_v2(optimizer, sched="cosine", num_epochs=2, warmup_epochs=0)
    assert epochs >= 2
    ema = ModelEmaV3(model, decay=0.5)
    criterion = LabelSmoothingCrossEntropy(0.1)
    images, labels = torch.rand(4, 3, 64, 64), torch.arange(4)
    start = {key: value.clone() for key, value in model.named_parameters()}
    for epoch in range(2):
        loss = criterion(model.train()(images), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        ema.update(model)
        scheduler.step(epoch + 1)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert any(not torch.equal(value, start[key]) for key, value in model.named_parameters())
    moved = dict(ema.module.named_parameters())["classifier.weight"]
    assert not torch.equal(moved, start["classifier.weight"])
    assert not torch.equal(moved, model.classifier.weight)


@pytest.mark.parametrize("name", ["ghostyolo_ghostnetv3_050", "ghostyolo_mobileformer_52m"])
def test_gradient_checkpointing_changes_no_gradient(name):
    gradients = []
    for enable in (False, True):
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=4, drop_rate=0.0).train()
        model.set_grad_checkpointing(enable)
        model(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))).square().sum().backward()
        gradients.append({key: parameter.grad for key, parameter in model.named_parameters()})
    for key, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], expected, rtol=1e-3, atol=1e-4 * float(1 + expected.abs().max()))


@small
def test_timm_s_reparameterization_folds_it(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=4).double().eval()
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    folded = reparameterize_model(model)
    assert count_parameters(folded) < count_parameters(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(image), model(image), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ghostyolo_ghostnetv3_050", {"type": "ghostnetv3", "width": 0.5}),
        ("ghostyolo_mobileformer_52m", {"type": "mobileformer", "variant": "52m"}),
    ],
)
def test_weights_of_a_timm_classifier_fit_a_detector(name, kind, tmp_path):
    classifier = timm.create_model(name, num_classes=5)
    save_file(classifier.state_dict(), tmp_path / "classifier.safetensors")
    neck = {"type": "hyperace_fullpad", "depth": 0.5, "width": 0.125, "hyperedges": 4}
    config = DetectorConfig.from_dict({"backbone": kind, "neck": neck, "head": "dfl"}, "test")
    detector = build_model(config, num_classes=2)
    assert load_backbone(detector, tmp_path / "classifier.safetensors") > 100
    own = dict(detector.backbone.named_parameters())
    assert own
    for key, parameter in classifier.backbone.named_parameters():
        assert torch.equal(own[key], parameter)


def test_tokens_take_no_weight_decay():
    assert timm.create_model("ghostyolo_mobileformer_52m").no_weight_decay() == {"backbone.stem.tokens"}
    assert timm.create_model("ghostyolo_shufflenetv1_050").no_weight_decay() == set()


def test_what_it_does_not_have_is_refused():
    with pytest.raises(RuntimeError, match="No pretrained weights exist for ghostyolo_shufflenetv1_050"):
        timm.create_model("ghostyolo_shufflenetv1_050", pretrained=True)
    with pytest.raises(ConfigError, match=r"out_indices .*choose from 0 to 4"):
        timm.create_model("ghostyolo_shufflenetv1_050", features_only=True, out_indices=(1, 5))
    with pytest.raises(ConfigError, match="global_pool 'max'"):
        timm.create_model("ghostyolo_shufflenetv1_050", global_pool="max")
    model = timm.create_model("ghostyolo_shufflenetv1_050")
    with pytest.raises(ConfigError, match="together with num_classes=0"):
        model.reset_classifier(10, "")
    with pytest.raises(ConfigError, match="maps are NCHW"):
        model.forward_intermediates(torch.rand(1, 3, 32, 32), output_fmt="NLC")


def test_intermediates_come_with_the_final_map():
    model = timm.create_model("ghostyolo_shufflenetv1_050").eval()
    image = torch.rand(1, 3, 32, 64)
    final, maps = model.forward_intermediates(image, indices=[1, -1])
    assert [tuple(level.shape[2:]) for level in maps] == [(8, 16), (1, 2)]
    assert torch.equal(final, model.forward_features(image))
    only = model.forward_intermediates(image, indices=[1], stop_early=True, intermediates_only=True)
    assert torch.equal(only[0], maps[0])

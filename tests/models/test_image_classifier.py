"""Classifiers by name, on small pictures, as checkpoints, and their backbones in detectors."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import nn

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models import build_model
from ghostyolo.models.backbones.pretrained import load_backbone
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.models.image_classifier import ClassifierConfig, ImageClassifier, build_classifier, classifier_config
from ghostyolo.models.weights import load_checkpoint, load_classifier, save_checkpoint
from ghostyolo.nn.reparam import fold
from tests.nn.reparam.trained import assert_same, randomise

X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def make(name: str, **options) -> ImageClassifier:
    torch.manual_seed(0)
    return build_classifier(classifier_config(name, **options), 5).eval()


def checkpoint(model: ImageClassifier, path) -> None:
    metadata = ModelMetadata(model=model.config.name, class_names=list("abcde"), imgsz=64)
    save_checkpoint(model, metadata, path)


@pytest.mark.parametrize(
    ("name", "kind", "params"),
    [
        ("ghostnetv3", "ghostnetv3", {}),
        ("ghostnetv3-psa", "ghostnetv3_psa", {}),
        ("ghostnetv3@n", "ghostnetv3", {"width": 0.5}),
        ("ghostnetv3@1", "ghostnetv3", {"width": 0.5}),
        ("ghostnetv3:width=0.25,attention=psa", "ghostnetv3", {"width": 0.25, "attention": "psa"}),
        ("yolov13n-ghostnetv3", "ghostnetv3", {"width": 0.45, "branches": 3}),
        ("yolov8n-ghostnetv3", "ghostnetv3", {"width": 0.5}),
        ("mobilenetv2@n", "mobilenetv2", {"variant": "x1.0"}),
        ("timm:resnet18", "timm", {"name": "resnet18"}),
        ("resnet18", "timm", {"name": "resnet18"}),
        ("shufflenet_v2_x0_5", "torchvision", {"name": "shufflenet_v2_x0_5"}),
    ],
)
def test_names(name, kind, params) -> None:
    config = classifier_config(name)
    assert (config.name, config.backbone.type, config.backbone.params) == (name, kind, params)


@pytest.mark.parametrize("name", ["ghostnetv3:width=0.25", "shufflenet_v2_x0_5"])
def test_the_1x1_branch_beside_a_depthwise_one_can_be_left_out(name) -> None:
    usual, without = (make(name, branches=2, pointwise_branch=on).state_dict() for on in (None, False))
    assert any(".pointwise." in key for key in usual)
    assert without.keys() == {key for key in usual if ".pointwise." not in key}
    with pytest.raises(ConfigError, match="has no branches"):
        classifier_config("resnet18", pointwise_branch=False)


def test_a_declaration_from_before_the_1x1_branch_was_a_choice_is_written_as_it_was() -> None:
    config = classifier_config("shufflenet_v2_x0_5", branches=2)
    assert "pointwise_branch" not in config.model_dump(mode="json")
    without = classifier_config("shufflenet_v2_x0_5", branches=2, pointwise_branch=False)
    assert ClassifierConfig.from_dict(without.model_dump(mode="json"), "test") == without


def test_a_detectors_backbone_is_the_detectors() -> None:
    model, detector = make("yolov13n-ghostnetv3"), build_model("yolov13n-ghostnetv3", num_classes=2)
    assert model.backbone.state_dict().keys() == detector.backbone.state_dict().keys()


def test_a_yaml_file_declares_one(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"backbone": {"type": "ghostnetv1", "width": 0.25}, "mean": [0.5], "std": [0.25]}))
    model = make(str(path))
    assert model.config.name == "mine"
    torch.testing.assert_close(model(X), model.logits((X - 0.5) / 0.25))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ghostnet3", "unknown model 'ghostnet3': did you mean ghostnetv3"),
        ("ghostnetv3:witdh=1", "no parameter 'witdh': did you mean width"),
        ("ghostnetv3:small", "'small' is no parameter"),
        ("timm:resnet188", "timm has no model 'resnet188': did you mean resnet18"),
        ("ghostnetv3@q", "unknown scale 'q'"),
    ],
)
def test_unknown_names_offer_the_nearest(name, message) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        make(name)
    assert "\n" not in str(raised.value)


def test_ghostnets_have_the_published_head() -> None:
    model = make("ghostnetv1")
    published = sum(parameter.numel() for parameter in model.parameters()) + 995 * 1281
    assert published / 1e6 == pytest.approx(5.18, abs=0.005)  # with 1000 classes


@pytest.mark.parametrize(("width", "params", "macs"), [(0.5, 3.40, 49.6), (1.0, 8.13, 167.0), (1.3, 12.22, 269.3)])
def test_ghostnetv3_has_the_published_size(width, params, macs) -> None:
    with torch.device("meta"):
        model = build_classifier(classifier_config(f"ghostnetv3:width={width}"), 1000)
        deployed = build_classifier(classifier_config(f"ghostnetv2:width={width}"), 1000)
    assert count_parameters(model) / 1e6 == pytest.approx(params, abs=0.005)
    assert count_macs(deployed, 224) / 1e6 == pytest.approx(macs, abs=0.05)


@pytest.mark.parametrize("name", ["ghostnetv3:width=0.25", "mobilenetv2@p", "shufflenet_v2_x0_5", "resnet18"])
@pytest.mark.parametrize(("output_stride", "side"), [(32, 2), (16, 4), (8, 8)])
def test_output_stride_keeps_the_early_size_and_every_weight(name, output_stride, side) -> None:
    model = make(name, output_stride=output_stride)
    sizes: list[tuple[int, ...]] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, args, output: sizes.append(tuple(output.shape[2:])))
    assert model(X).shape == (2, 5)
    assert [size for size in sizes if size > (1, 1)][-1] == (side, side)
    assert {k: v.shape for k, v in model.state_dict().items()} == {
        k: v.shape for k, v in make(name).state_dict().items()
    }


def test_networks_of_one_size_and_of_large_steps_say_so() -> None:
    with pytest.raises(ConfigError, match="cannot take small pictures"):
        make("timm:vit_tiny_patch16_224", output_stride=16)
    with pytest.raises(ConfigError, match="no halving of stride 2 to take out"):
        make("timm:convnext_atto", output_stride=8)


@pytest.mark.parametrize("name", ["mobilenetv2@p", "shufflenet_v2_x0_5", "ghostnetv2:width=0.25"])
def test_branches_are_given_to_any_network_and_fold_away(name) -> None:
    model = make(name, branches=2, output_stride=16)
    assert any(".branches.1." in key for key in model.state_dict())
    randomise(model)
    with torch.no_grad():
        assert_same(fold(model)(X.double()), model(X.double()))


@pytest.mark.parametrize("name", ["ghostnetv3:width=0.25", "mobilenetv2@p"])
def test_checkpoints_come_back_as_they_were(tmp_path, name) -> None:
    model = make(name, branches=2, output_stride=16)
    checkpoint(model, tmp_path / "c.safetensors")
    again, metadata = load_classifier(tmp_path / "c.safetensors")
    assert (metadata.class_names, again.config) == (list("abcde"), model.config)
    with torch.no_grad():
        torch.testing.assert_close(again(X), model(X), rtol=0, atol=0)


def test_detectors_and_classifiers_are_told_apart(tmp_path) -> None:
    checkpoint(make("ghostnetv1:width=0.25"), tmp_path / "c.safetensors")
    with pytest.raises(WeightsError, match="is a classifier, not a detector"):
        load_checkpoint(tmp_path / "c.safetensors")
    detector = build_model("yolov8p", num_classes=1)
    metadata = ModelMetadata(model="yolov8p", class_names=["a"], imgsz=64)
    save_checkpoint(detector, metadata, tmp_path / "d.safetensors")
    with pytest.raises(WeightsError, match="is a detector, not a classifier"):
        load_classifier(tmp_path / "d.safetensors")


@pytest.mark.parametrize(
    ("name", "trained", "detector", "branches"),
    [
        ("ghostnetv3:width=0.5", 2, "yolov8n-ghostnetv3", 2),
        ("ghostnetv3:width=0.5", 2, "yolov8n-ghostnetv3", 1),
        ("ghostnetv3:width=0.5", 1, "yolov8n-ghostnetv3", 2),
        ("yolov8p", 2, "yolov8p", None),
        ("mobilenetv2@p", 2, "mobilenetv2+yolov8_pafpn+dfl@p", None),
        ("shufflenetv2@p", None, "shufflenetv2+yolov8_pafpn+dfl@p", None),
    ],
)
def test_backbones_go_into_detectors_whatever_their_branches(
    tmp_path, caplog, name, trained, detector, branches
) -> None:
    model = make(name, branches=trained)
    randomise(model).float()
    checkpoint(model, tmp_path / "c.safetensors")
    target = build_model(detector, num_classes=2, branches=branches)
    assert load_backbone(target, tmp_path / "c.safetensors") > 0
    assert ("another number of training branches" in caplog.text) == (trained != branches)
    target.eval()
    with torch.no_grad():
        features = target.backbone(X)
        library = getattr(target.backbone, "library", None)
        if library is None:
            assert_same(features[-1], model.backbone(X)[-1], 1e-4)
        else:  # the classifier goes on where the backbone ends; the first map on the way tells as much
            seen: list[torch.Tensor] = []
            path = target.backbone.paths[-1][-1]
            handle = model.backbone.net.get_submodule(path).register_forward_hook(lambda m, a, y: seen.append(y))
            model(X)
            handle.remove()
            assert_same(features[-1], seen[0], 1e-4)


def test_declarations_are_strict() -> None:
    with pytest.raises(ConfigError, match="'output_stride' is 4"):
        ClassifierConfig.from_dict({"backbone": "ghostnetv1", "output_stride": 4}, "here")

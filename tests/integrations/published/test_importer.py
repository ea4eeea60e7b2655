"""Every published family becomes a checkpoint of ours that answers the same, and what does not fit is named."""

from __future__ import annotations

import re

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

import timm  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from ghostyolo.errors import ConfigError, WeightsError  # noqa: E402
from ghostyolo.integrations.published.families import FAMILIES  # noqa: E402
from ghostyolo.integrations.published.importer import import_checkpoint  # noqa: E402
from ghostyolo.integrations.published.names import translated  # noqa: E402
from ghostyolo.models import build_model  # noqa: E402
from ghostyolo.models.backbones.pretrained import load_backbone  # noqa: E402
from ghostyolo.models.weights import load_checkpoint, load_classifier  # noqa: E402
from tests.integrations.published.builders import family_of, their_name, their_tensors  # noqa: E402
from tests.models.filled import fill  # noqa: E402

NETWORKS = ["yolov5n", "yolov7-tiny", "yolov8n", "yolov13n", "yolox-nano", "yolox-tiny"]


def small(name):
    """A network of the family for two classes, filled by name."""
    return fill(build_model(name, num_classes=2)).float()


def difference(ours, theirs):
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = zip(ours(image), theirs(image), strict=True)
        return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_published_names_become_ours_and_answers_stay(tmp_path, name, suffix):
    model = small(name)
    tensors = their_tensors(model)
    path = tmp_path / f"x{suffix}"
    if suffix == ".pt":
        torch.save({"ema": {f"module.{name}": tensor for name, tensor in tensors.items()}, "model": None}, path)
    else:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    result = import_checkpoint(path, name, tmp_path / "ours.safetensors")
    ours, metadata = load_checkpoint(result.path)
    assert difference(ours, model) < 1e-4
    assert metadata.class_names == ["class 0", "class 1"]
    assert not result.measured


@pytest.mark.parametrize("name", ["yolov8n", "yolox-nano"])
def test_folded_norms_come_back_with_the_same_answers(tmp_path, name):
    """A file whose batch norms are in its convolutions: a kernel and a bias each."""
    model = small(name)
    tensors = their_tensors(model)
    for norm in [name.removesuffix("running_var") for name in tensors if name.endswith("running_var")]:
        conv = norm.removesuffix("bn.") + "conv."
        scale = tensors[f"{norm}weight"] / (tensors[f"{norm}running_var"] + 1e-3).sqrt()
        tensors[f"{conv}weight"] = tensors[f"{conv}weight"] * scale.view(-1, 1, 1, 1)
        tensors[f"{conv}bias"] = tensors[f"{norm}bias"] - tensors[f"{norm}running_mean"] * scale
        for part in ("weight", "bias", "running_mean", "running_var"):
            del tensors[norm + part]
    torch.save(tensors, tmp_path / "x.pt")
    result = import_checkpoint(tmp_path / "x.pt", name, tmp_path / "ours.safetensors")
    assert result.measured > 50
    assert difference(load_checkpoint(result.path)[0], model) < 1e-4


def test_anchors_of_the_file_are_declared_unless_they_are_the_usual_ones(tmp_path):
    model = small("yolov5n")
    tensors = their_tensors(model)
    torch.save({**tensors, "model.24.anchors": tensors["model.24.anchors"].half()}, tmp_path / "x.pt")
    usual = import_checkpoint(tmp_path / "x.pt", "yolov5n", tmp_path / "o.safetensors").metadata
    assert "anchors" not in usual.config["head"]["params"]
    tensors["model.24.anchors"] = tensors["model.24.anchors"] * 2
    torch.save(tensors, tmp_path / "x.pt")
    ours, metadata = load_checkpoint(import_checkpoint(tmp_path / "x.pt", "yolov5n", tmp_path / "o.safetensors").path)
    assert metadata.config["head"]["params"]["anchors"][0][0] == [20.0, 26.0]
    model.head.anchors *= 2
    assert difference(ours, model) < 1e-4


def test_implicit_knowledge_of_yolov7_is_folded_in(tmp_path):
    model = small("yolov7-tiny")
    tensors = their_tensors(model)
    generator = torch.Generator().manual_seed(0)
    for level, predict in enumerate(model.head.predict):
        added = torch.randn(1, predict.in_channels, 1, 1, generator=generator)
        factor = torch.rand(1, predict.out_channels, 1, 1, generator=generator) + 0.5
        tensors[f"model.77.ia.{level}.implicit"], tensors[f"model.77.im.{level}.implicit"] = added, factor
        predict.register_forward_pre_hook(lambda module, inputs, added=added: (inputs[0] + added,))
        predict.register_forward_hook(lambda module, inputs, output, factor=factor: output * factor)
    torch.save(tensors, tmp_path / "x.pt")
    ours, _ = load_checkpoint(import_checkpoint(tmp_path / "x.pt", "yolov7-tiny", tmp_path / "o.safetensors").path)
    assert difference(ours, model) < 1e-4


def test_a_network_of_more_levels_is_refused_in_one_line(tmp_path):
    tensors = their_tensors(small("yolov5n"))
    tensors["model.24.anchors"] = torch.ones(4, 3, 2)
    torch.save(tensors, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"no layer 'model\.24\.m\.0\.bias', which counts"):
        import_checkpoint(tmp_path / "x.pt", "yolov5n", tmp_path / "o.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.4.cv1.conv.weight"), "it has nothing for our layer 'backbone.to_stride8.4.enter"),
        (lambda t: t.update({"model.4.cv9.conv.weight": torch.ones(1)}), "it has a layer 'model.4.cv9.conv.weight'"),
        (lambda t: t.update({"model.99.x": torch.ones(1)}), "it has a layer 'model.99.x'"),
        (
            lambda t: t.update({"model.0.conv.weight": torch.ones(16, 4, 3, 3)}),
            "'model.0.conv.weight' is .16, 4",
        ),
        (lambda t: t["model.2.cv1.bn.weight"].fill_(float("nan")), "layer 'model.2.cv1.bn.weight' holds values"),
        (lambda t: t.pop("model.22.cv3.0.2.bias"), "no layer 'model.22.cv3.0.2.bias', which counts the classes"),
    ],
)
def test_the_layer_that_does_not_fit_is_named(tmp_path, change, message):
    tensors = their_tensors(small("yolov8n"))
    change(tensors)
    torch.save(tensors, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=message) as caught:
        import_checkpoint(tmp_path / "x.pt", "yolov8n", tmp_path / "ours.safetensors")
    assert re.match(rf"{tmp_path}/x.pt is no 'yolov8n': ", str(caught.value))
    assert not (tmp_path / "ours.safetensors").exists()


@pytest.mark.parametrize("name", [name for family in FAMILIES for name in family.published])
def test_every_published_size_has_a_name_for_each_tensor(name):
    """What is compared with their files is in test_golden; the larger sizes have more of the same blocks."""
    with torch.device("meta"):
        model = build_model(name, num_classes=80)
    family = family_of(model)
    state = [name for name in model.state_dict() if "num_batches" not in name]
    theirs = {their_name(name, model, family): name for name in state}
    assert len(theirs) == len(state)
    assert all(translated(name, model, family.layers, family.words) == ours for name, ours in theirs.items())


@pytest.mark.parametrize("name", ["yolov13l", "yolov13x"])
def test_the_large_yolov13_has_the_names_of_its_blocks(name):
    """All its inner blocks are nested, and its attention has a residual with a learned scale."""
    with torch.device("meta"):
        model = build_model(name, num_classes=80)
    names = {their_name(tensor, model, family_of(model)) for tensor in model.state_dict()}
    nested = "m.0.m.0.cv1.dw.weight"
    assert {"model.6.gamma", "model.8.gamma", f"model.2.{nested}", f"model.30.{nested}"} <= names
    assert not any(name.startswith("model.11.") for name in names)


def test_a_ghostnet_of_timm_becomes_a_classifier_and_a_backbone(tmp_path):
    theirs = timm.create_model("ghostnet_050").eval()
    torch.save({"state_dict_ema": theirs.state_dict()}, tmp_path / "x.pth")
    result = import_checkpoint(tmp_path / "x.pth", "ghostnet_050", tmp_path / "ours.safetensors")
    ours, metadata = load_classifier(result.path)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (metadata.mean, metadata.std))
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs((image - mean) / std), rtol=1e-4, atol=1e-5)
    assert metadata.class_names[0] == "tench, Tinca tinca"
    assert len(set(metadata.class_names)) == 1000
    assert metadata.derived_from[0].licence == "Apache-2.0"
    assert load_backbone(build_model("yolov8n-ghostnetv1", num_classes=3), result.path) > 200


def test_a_ghostnet_of_another_width_names_the_layer(tmp_path):
    torch.save(timm.create_model("ghostnet_050").state_dict(), tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"is no 'ghostnet_100': layer 'backbone\.stages"):
        import_checkpoint(tmp_path / "x.pth", "ghostnet_100", tmp_path / "ours.safetensors")
    torch.save(their_tensors(small("yolov8n")), tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="does not hold a GhostNet"):
        import_checkpoint(tmp_path / "x.pth", "ghostnet_100", tmp_path / "ours.safetensors")


def test_an_unknown_network_is_refused_before_the_file_is_read(tmp_path):
    with pytest.raises(ConfigError, match="yolov8nn"):
        import_checkpoint(tmp_path / "none.pt", "yolov8nn", tmp_path / "x.safetensors")

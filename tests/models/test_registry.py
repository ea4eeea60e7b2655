"""Parts and detectors by name: what is unknown is refused with the nearest valid names."""

from __future__ import annotations

import re

import pytest
import torch

from ghostyolo.errors import ConfigError
from ghostyolo.models import build_model, list_models
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.detector import resolve_config
from ghostyolo.models.names import zoo_config

PARTS = {"backbone": {"type": "ghostnetv3", "width": 0.5}, "neck": "hyperace_fullpad", "head": "dfl"}


def test_the_zoo_names_every_scale_and_variant():
    expected = {f"yolov13{scale}{v}" for scale in "nslx" for v in ("", "-ghostnetv3", "-ghostnetv3-psa")}
    assert expected <= set(list_models())


# The smallest and the largest of a family hold what differs between scales, the smallest what the attention changes;
# all of them are slow.
QUICK = re.compile(r".*\dn(-|$)|.*\dx(-ghostnetv3)?$|.*-(nano|tiny)")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if QUICK.match(name) else pytest.mark.slow) for name in list_models()],
)
def test_every_model_runs_at_any_size_and_class_count(name):
    with torch.device("meta"):
        model = build_model(name, num_classes=7, in_channels=1).eval()
    boxes, scores = model(torch.empty(2, 1, 96, 160, device="meta"))
    per_cell = 3 if model.config.head.type == "anchor" else 1
    anchors = per_cell * sum(96 * 160 // stride**2 for stride in (8, 16, 32))
    assert (boxes.shape, scores.shape) == ((2, anchors, 4), (2, anchors, 7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": {"type": "ghostnetv4"}}, r"unknown backbone 'ghostnetv4'.*ghostnetv"),
        ({"backbone": {"type": "ghostnetv3", "widht": 1}}, r"no parameter 'widht'.*width"),
        ({"backbone": {"type": "ghostnetv3", "in_channels": 1}}, "no parameter 'in_channels'"),
        ({"neck": "hyperace"}, "unknown neck 'hyperace'.*hyperace_fullpad"),
        ({"head": {"type": "dlf"}}, "unknown head 'dlf'.*dfl"),
    ],
)
def test_a_wrong_part_is_named_with_valid_ones(change, message):
    config = DetectorConfig.from_dict({**PARTS, **change}, "test")
    with pytest.raises(ConfigError, match=message):
        build_model(config, num_classes=1)


def test_wrong_keys_and_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown key 'backbon'.*backbone"):
        DetectorConfig.from_dict({**PARTS, "backbon": 1}, "m.yaml")
    with pytest.raises(ConfigError, match=r"unknown model 'yolo13n-ghostnetv3'.*yolov13n-ghostnetv3"):
        zoo_config("yolo13n-ghostnetv3")
    with pytest.raises(ConfigError, match=r"unknown backbone 'ghostnet'.*ghostnetv"):
        build_model("yolov13n-ghostnet", num_classes=1)
    with pytest.raises(ConfigError, match="cannot be read"):
        resolve_config(tmp_path / "missing.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(ConfigError, match="must be 'key: value' lines, not list"):
        resolve_config(tmp_path / "list.yaml")


def test_a_yaml_file_builds_a_detector_of_its_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "backbone: {type: ghostnetv1, width: 0.5}\nneck: {type: hyperace_fullpad, width: 0.125}\n"
        "head: {type: dfl, bins: 8}\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n"
    )
    model = build_model(path, num_classes=3).eval()
    assert (model.config.name, model.head.bins) == ("mine", 8)
    image = torch.rand(1, 3, 64, 64)
    normalised = (image - model.mean) / model.std
    with torch.no_grad():
        boxes, _ = model(image)
        expected, _ = model.head(model.neck(model.backbone(normalised)))
    assert torch.equal(boxes, expected)


@pytest.mark.parametrize(("classes", "channels"), [(0, 3), (1, 0)])
def test_impossible_counts_are_refused(classes, channels):
    with pytest.raises(ConfigError, match="at least one"):
        build_model("yolov13n", num_classes=classes, in_channels=channels)


class FewMaps(torch.nn.Module):
    """A backbone that gives other maps than it says."""

    def __init__(self, in_channels: int, channels: tuple[int, ...], strides: tuple[int, ...], given: int) -> None:
        super().__init__()
        self.channels, self.strides, self.given = channels, strides, given

    def forward(self, images):
        sizes = [(images.shape[2] // stride, images.shape[3] // stride) for stride in (8, 16, 32)]
        return [images.new_zeros(len(images), 8, *size) for size in sizes[: self.given]]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"channels": (8, 8), "strides": (8, 16), "given": 2}, "gives maps at strides 8, 16, neck"),
        ({"channels": (8, 8), "strides": (8, 16, 32), "given": 2}, r"says 2 channels \(8, 8\) and 3 strides"),
        ({"channels": (8, 8, 8), "strides": (8, 16, 32), "given": 2}, "gives maps of 8, 8 channels, but says 8, 8, 8"),
        ({"channels": (8, 8, 16), "strides": (8, 16, 32), "given": 3}, "gives maps of 8, 8, 8 .* but says 8, 8, 16"),
    ],
)
def test_a_backbone_with_other_maps_than_it_says_is_one_line(monkeypatch, said, message):
    from ghostyolo.models import registry

    monkeypatch.setitem(registry._PARTS["backbone"], "few", registry.Part(lambda in_channels: FewMaps(3, **said), {}))
    config = DetectorConfig.from_dict({"name": "x", "backbone": "few", "neck": "yolov8_pafpn", "head": "dfl"})
    with pytest.raises(ConfigError, match=f"backbone 'few' {message}"):
        build_model(config, num_classes=1)(torch.zeros(1, 3, 64, 64))

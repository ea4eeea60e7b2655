"""One knob for the size: letters, numbers between them, and budgets."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.errors import ConfigError
from ghostyolo.models import build_model
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.costs import describe_model
from ghostyolo.models.count import count_parameters
from ghostyolo.models.detector import fill_in
from ghostyolo.models.names import zoo_config
from ghostyolo.models.registry import register_backbone
from ghostyolo.models.scales import scaled

SCALES = {letter: {"width": 0.25 * 2**i, "deep": i > 2, "count": i} for i, letter in enumerate("pnsmlx")}


def test_a_letter_gives_its_own_parameters():
    assert scaled(SCALES, "s") == {"width": 1.0, "deep": False, "count": 2}


def test_between_letters_widths_are_geometric_and_the_rest_is_the_nearer_letters():
    assert scaled(SCALES, 2.5) == {"width": pytest.approx(2**0.5, abs=1e-5), "deep": True, "count": 3}
    assert scaled(SCALES, 2.4)["count"] == 2
    assert scaled(SCALES, 5.0) == {"width": 8.0, "deep": True, "count": 5}


def test_a_part_without_scales_has_no_parameters_of_them():
    assert scaled({}, "s") == {}


@pytest.mark.parametrize(("scale", "message"), [("q", "unknown scale 'q'"), (5.1, "outside 0"), (-1, "outside 0")])
def test_an_unknown_scale_is_refused(scale, message):
    with pytest.raises(ConfigError, match=message):
        scaled(SCALES, scale)


def test_scales_name_every_letter():
    with pytest.raises(ConfigError, match="scales must name each of p, n, s, m, l, x"):
        register_backbone("half-scaled", scales={"n": {}})


def test_the_letters_of_yolov13_are_its_files():
    for letter in "nslx":
        parts = {"backbone": "yolov13", "neck": "hyperace_fullpad", "head": "dfl", "scale": letter}
        filled = fill_in(DetectorConfig.from_dict(parts, "test"))
        published = zoo_config(f"yolov13{letter}")
        assert filled.backbone.params == published.backbone.params
        assert filled.neck.params == published.neck.params


def test_own_keys_win_over_the_scale_and_the_result_is_explicit():
    parts = {"backbone": {"type": "ghostnetv3", "width": 0.25}, "neck": "hyperace_fullpad", "head": "dfl", "scale": "p"}
    filled = fill_in(DetectorConfig.from_dict(parts, "test"))
    assert (filled.scale, filled.imgsz) == (None, 416)
    assert filled.backbone.params["width"] == 0.25
    assert filled.neck.params["width"] == 0.125
    assert build_model(filled, num_classes=1).config == filled


def test_yolov13_is_built_between_its_letters():
    with torch.device("meta"):
        between, above = (count_parameters(build_model(f"yolov13@{size}", num_classes=80)) for size in (0.6, 1))
    assert between < above


def test_two_sizes_are_one_too_many():
    parts = {"backbone": "ghostnetv3", "neck": "hyperace_fullpad", "head": "dfl", "scale": "n", "flops_g": 3}
    with pytest.raises(ConfigError, match="give one of scale and flops_g"):
        DetectorConfig.from_dict(parts, "test")


@pytest.mark.parametrize(("size", "figure", "budget"), [("2M", "params_deployed_m", 2), ("4G", "flops_g", 4)])
def test_a_budget_is_met(size, figure, budget):
    assert describe_model(f"yolov8@{size}")[figure] == pytest.approx(budget, rel=0.05)


def test_a_budget_out_of_reach_says_what_can_be_had():
    with pytest.raises(ConfigError, match=r"no scale has about 0.1 M parameters: they go from 0.84 to 63"):
        build_model("yolov13@0.1M", num_classes=1)

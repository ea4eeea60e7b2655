"""What a detector's name means."""

from __future__ import annotations

import pytest

from ghostyolo.errors import ConfigError
from ghostyolo.models.names import is_model_name, list_models, zoo_config


def parts(name: str) -> tuple[str, str, str]:
    config = zoo_config(name)
    return config.backbone.type, config.neck.type, config.head.type


def test_a_file_of_the_zoo_comes_before_the_family():
    assert zoo_config("yolov13n-ghostnetv3").backbone.params["width"] == 0.45
    assert zoo_config("yolov13n-ghostnetv3").scale is None


@pytest.mark.parametrize(
    ("name", "expected", "scale"),
    [
        ("yolov13m", ("yolov13", "hyperace_fullpad", "dfl"), "m"),
        ("yolov13p-ghostnetv3-psa", ("ghostnetv3_psa", "hyperace_fullpad", "dfl"), "p"),
        ("yolov13s-mobilenetv2", ("mobilenetv2", "hyperace_fullpad", "dfl"), "s"),
        ("yolov13s-e2e", ("yolov13", "hyperace_fullpad", "end2end"), "s"),
        ("yolov13s-ghostnetv2-e2e", ("ghostnetv2", "hyperace_fullpad", "end2end"), "s"),
        ("yolox-s-ghostnetv3", ("ghostnetv3", "yolox_pafpn", "yolox"), "s"),
        ("yolov7s", ("yolov7", "yolov7_elan", "anchor"), "s"),
        ("ghostnetv1+hyperace_fullpad+dfl", ("ghostnetv1", "hyperace_fullpad", "dfl"), "n"),
        ("ghostnetv1+hyperace_fullpad+dfl@x", ("ghostnetv1", "hyperace_fullpad", "dfl"), "x"),
        ("yolov13@1.5", ("yolov13", "hyperace_fullpad", "dfl"), 1.5),
    ],
)
def test_names_are_families_scales_and_parts(name, expected, scale):
    assert is_model_name(name)
    assert parts(name) == expected
    assert zoo_config(name).scale == scale


def test_budgets_come_after_an_at():
    assert zoo_config("yolov13-ghostnetv3@2M").params_m == 2
    assert zoo_config("yolov13@2.5G").flops_g == 2.5
    assert zoo_config("ghostnetv3+hyperace_fullpad+dfl@3G").flops_g == 3


@pytest.mark.parametrize("name", ["", "yolov13", "yolov13q", "yolov13n-", "yolov13nano", "mine", "a+b", "@2M", "bccd"])
def test_other_words_are_no_models(name):
    assert not is_model_name(name)
    with pytest.raises(ConfigError, match="unknown model"):
        zoo_config(name)


@pytest.mark.parametrize("size", ["", "big", "2k", "-1M", "1e3M", "q"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ConfigError, match="is no size"):
        zoo_config(f"yolov13@{size}")


def test_the_zoo_lists_names_that_are_valid():
    assert list_models() == sorted(set(list_models()))
    assert all(is_model_name(name) for name in list_models())

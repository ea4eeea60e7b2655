"""Our layers in a YAML of the user's own: channels, and a line for every mistake."""

from __future__ import annotations

import copy

import pytest
import torch

from ghostyolo.errors import ConfigError, MissingExtraError
from ghostyolo.models.registry import build_part, scale_params
from tests.integrations.ultralytics.builders import enliven, pictures

ROWS = [
    [-1, 1, "Conv", [32, 3, 2]],
    [-1, 1, "ghostyolo.GhostModule", [64, {"attention": "dfc", "branches": 2}]],
    [-1, 1, "ghostyolo.GhostBottleneck", [64, {"stride": 2, "squeeze_excite": True, "branches": 2}]],
    [-1, 1, "ghostyolo.PSA", []],
    [-1, 1, "ghostyolo.GhostBottleneck", [128, {"stride": 2, "expansion": 2, "attention": "psa"}]],
    [-1, 1, "ghostyolo.DFC", []],
    [-1, 2, "ghostyolo.DSC3k2", [128]],
    [-1, 1, "Conv", [256, 3, 2]],
    [-1, 1, "Conv", [512, 3, 2]],
    [[6, 7, 8], 2, "ghostyolo.HyperACE", [256, {"hyperedges": {"n": 4, "s": 8}}]],
    [[7, 9], 1, "ghostyolo.Tunnel", []],
]
HEAD = [[[6, 10, 8], 1, "Detect", ["nc"]]]


def own(**changes):
    rows = {**dict(enumerate(copy.deepcopy(ROWS))), **{int(key[3:]): row for key, row in changes.items()}}
    scales = {"n": [0.5, 0.25, 1024], "s": [0.5, 0.5, 1024]}
    return {"nc": 3, "scales": scales, "scale": "n", "backbone": list(rows.values()), "head": copy.deepcopy(HEAD)}


def test_ghost_modules_go_into_a_yaml_of_one_s_own(tasks):
    declaration = own()
    model = enliven(tasks.DetectionModel(declaration, verbose=False))
    assert model.stride.tolist() == [8, 16, 32]
    assert model.yaml["backbone"][3] == [-1, 1, "ghostyolo.PSA", []]
    channels = []
    for layer in model.model[:-1]:
        layer.register_forward_hook(lambda layer, given, out: channels.append(out.shape[1]))
    with torch.no_grad():
        model(pictures(width=64))
    assert channels == [8, 16, 16, 16, 32, 32, 32, 64, 128, 64, 64]  # the rows' times 0.25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row1": [-1, 1, "ghostyolo.Ghost", [64]]}, r"row 1 \(ghostyolo.Ghost\): unknown layer: .*GhostModule"),
        ({"row1": [-1, 1, "ghostyolo.GhostModule", [64, {"branchs": 2}]]}, "no parameter 'branchs'.*branches"),
        ({"row1": [-1, 1, "ghostyolo.GhostModule", [64, {"attention": "cbam"}]]}, "unknown attention 'cbam'"),
        ({"row1": [-1, 1, "ghostyolo.GhostModule", []]}, r"arguments are \[output channels, \{parameter"),
        ({"row1": [-1, 3, "ghostyolo.GhostModule", [64]]}, "cannot be repeated"),
        ({"row1": [-1, 1, "ghostyolo.Backbone", ["ghostnetv3"]]}, "a backbone reads the picture: make it row 0"),
        ({"row0": [-1, 1, "ghostyolo.Backbone", ["ghostnetv4"]]}, "unknown backbone 'ghostnetv4'.*ghostnetv3"),
        ({"row3": [-1, 1, "ghostyolo.PSA", [64]]}, r"arguments are \[\{parameter"),
        ({"row3": [-1, 1, "ghostyolo.Level", [8]]}, "reads the backbone of row 0"),
        ({"row3": [-1, 1, "ghostyolo.PSA", [{"width": 2}]]}, "no parameter 'width': it has none"),
        ({"row9": [[6, 7], 2, "ghostyolo.HyperACE", [256]]}, r"reads 3 rows, got \[6, 7\]"),
        ({"row9": [[6, 7, 10], 2, "ghostyolo.HyperACE", [256]]}, r"reads rows before it, got \[6, 7, 10\]"),
        ({"row9": [[6, 7, 8], 2, "ghostyolo.HyperACE", [256, {"hyperedges": {"s": 8}}]]}, "no value for scale 'n'"),
        ({"row10": [[8, 9], 1, "ghostyolo.Tunnel", []]}, "row 10 .*maps of one width, got 128 and 64"),
    ],
)
def test_a_wrong_row_is_one_line_with_its_place(tasks, changes, message):
    with pytest.raises(ConfigError, match=message):
        tasks.DetectionModel(own(**changes), verbose=False)


def test_a_level_that_the_backbone_lacks_is_refused_with_those_it_has(tasks):
    declaration = tasks.yaml_model_load("yolo11n-ghostnetv3.yaml")
    declaration["backbone"][1][3] = [4]
    with pytest.raises(ConfigError, match=r"row 1 .*no map of stride 4, only of 8, 16, 32"):
        tasks.DetectionModel(declaration, verbose=False)


def test_a_layer_that_reads_the_whole_backbone_is_told_to_choose_a_level(tasks):
    declaration = tasks.yaml_model_load("yolov13n-ghostnetv3.yaml")
    declaration["backbone"][4][0] = 0
    with pytest.raises(ConfigError, match=r"row 4 .*row 0 gives several maps: choose one by a row of ghostyolo.Level"):
        tasks.DetectionModel(declaration, verbose=False)


def test_a_scale_that_the_yaml_lacks_is_refused_with_those_it_has(tasks):
    with pytest.raises(ConfigError, match="no scale 'x', only n, s"):
        tasks.DetectionModel({**own(), "scale": "x"}, verbose=False)


def test_a_parser_that_does_not_tell_its_channels_is_refused(tasks, monkeypatch):
    class Index(torch.nn.Module):
        def __init__(self, *index):
            super().__init__()

    monkeypatch.setattr(tasks, "Index", Index)
    with pytest.raises(MissingExtraError, match="does not tell its layers' channels; tested are"):
        tasks.DetectionModel(own(), verbose=False)


def test_the_table_of_rows_names_our_layers_and_their_channels(tasks, monkeypatch):
    from ultralytics.utils import LOGGER

    lines = []
    monkeypatch.setattr(LOGGER, "info", lines.append)
    tasks.parse_model(tasks.yaml_model_load("yolo11n-ghostnetv3.yaml"), ch=3)
    table = [line.split() for line in lines]
    assert table[0] == ["row", "reads", "parameters", "channels", "layer"]
    assert (table[1][0], table[1][-1]) == ("0", "ghostyolo.Backbone")
    assert table[2] == ["1", "0", "0", "20", "conv.Index"]
    assert len(table) == 20


def test_grey_pictures_reach_the_backbone(tasks):
    declaration = tasks.yaml_model_load("yolo11n-ghostnetv3.yaml")
    assert tasks.DetectionModel(declaration, ch=1, verbose=False).model[0].module.stem.conv.in_channels == 1


@pytest.mark.parametrize("backbone", ["ghostnetv1", "ghostnetv2", "yolov13"])
def test_any_registered_backbone_takes_the_scale_s_size(tasks, backbone):
    declaration = tasks.yaml_model_load("yolo11s-ghostnetv3.yaml")
    declaration["backbone"][0][3] = [backbone]
    module = tasks.DetectionModel(declaration, verbose=False).model[0].module
    params = scale_params("backbone", backbone, "s")
    assert module.channels == build_part("backbone", backbone, params, {"in_channels": 3}).channels

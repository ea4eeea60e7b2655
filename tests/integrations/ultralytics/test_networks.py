"""The model files: our backbones inside, last blocks to the levels, wired as our own detectors."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.integrations.ultralytics import model_files
from ghostyolo.integrations.ultralytics.rows import Size, read_row
from ghostyolo.models import build_model
from ghostyolo.models.count import count_parameters
from ghostyolo.models.registry import build_part, scale_params
from tests.integrations.ultralytics.builders import at_scale, enliven, network, pictures

DFL_CONSTANTS = 16  # that package's Detect holds the numbers 0 to 15 as a parameter
GHOSTS = [name for name in model_files() if "ghostnetv3" in name]


def same_constants(model):
    """The constant that the package gives to every batch norm."""
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.eps = 1e-3


@pytest.mark.parametrize("name", GHOSTS)
def test_the_backbone_inside_is_ours_and_its_levels_are_the_last_blocks(package, name):
    model = enliven(network(package, name))
    kind, *given = model.yaml["backbone"][0][3]
    params = {**scale_params("backbone", kind, "n"), **({"width": given[0]["width"]["n"]} if given else {})}
    backbone = build_part("backbone", kind, params, {"in_channels": 3})
    assert count_parameters(model.model[0]) == count_parameters(backbone)
    backbone.load_state_dict(model.model[0].module.state_dict())
    same_constants(backbone)
    seen = {}
    for row in (1, 2, 3):
        model.model[row].register_forward_hook(lambda layer, given, out: seen.update({layer.i: out}))
    images = pictures()
    with torch.no_grad():
        model(images)
        expected = backbone.eval()(images)
    assert model.stride.tolist() == [8, 16, 32]
    for row, stride, features, channels in zip((1, 2, 3), (8, 16, 32), expected, backbone.channels, strict=True):
        assert seen[row].shape == (1, channels, 64 // stride, 96 // stride)
        assert torch.equal(seen[row], features)


@pytest.mark.parametrize("name", [name for name in GHOSTS if name.endswith("-psa.yaml")])
def test_a_variant_differs_from_its_family_by_the_backbone_s_name_alone(name):
    rows = [line for line in model_files()[name].read_text().splitlines() if not line.startswith("#")]
    family = model_files()[name.replace("-psa", "")].read_text().splitlines()
    family = [line for line in family if not line.startswith("#")]
    changed = [(one.split(), other.split()) for one, other in zip(rows, family, strict=True) if one != other]
    assert len(changed) == 1
    assert [word.replace("_psa", "") for word in changed[0][0]] == changed[0][1]


@pytest.mark.parametrize(("letter", "width"), [("n", 0.5), ("s", 1.0), ("m", 1.3), ("l", 1.6), ("x", 2.0)])
def test_the_letter_in_the_name_sets_the_backbone_s_width(tasks, letter, width):
    declaration = tasks.yaml_model_load(at_scale("yolo11-ghostnetv3.yaml", letter))
    assert read_row(0, declaration["backbone"][0], Size.of(declaration)).params == {"width": width}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(model_files()))
def test_every_scale_of_every_file_runs_and_gives_the_three_strides(tasks, name):
    for letter in "nsmlx":
        with torch.device("meta"), torch.no_grad():
            layers, _ = tasks.parse_model(tasks.yaml_model_load(at_scale(name, letter)), ch=3, verbose=False)
            outputs = [torch.empty(1, 3, 64, 96)]
            for layer in layers[:-1]:
                rows = [layer.f] if isinstance(layer.f, int) else layer.f
                given = [outputs[row + 1 if row >= 0 else row] for row in rows]
                outputs.append(layer.eval()(given[0] if isinstance(layer.f, int) else given))
        levels = [outputs[row + 1] for row in layers[-1].f]
        assert [level.shape[2:] for level in levels] == [(8, 12), (4, 6), (2, 3)]
        assert [branch[0].conv.in_channels for branch in layers[-1].cv2] == [level.shape[1] for level in levels]


def test_a_scale_of_its_own_builds_another_network(package):
    small, large = (network(package, "yolov8-ghostnetv3.yaml", letter) for letter in "ns")
    assert large.model[0].module.channels == (40, 112, 160)
    assert count_parameters(large) > 2 * count_parameters(small)


@pytest.mark.parametrize("letter", ["n", pytest.param("s", marks=pytest.mark.slow),
                                    pytest.param("l", marks=pytest.mark.slow)])  # fmt: skip
@pytest.mark.parametrize("suffix", ["", "-ghostnetv3", "-ghostnetv3-psa"])
def test_yolov13_has_the_parameters_of_our_detector_of_that_name(package, letter, suffix):
    ours = build_model(f"yolov13{letter}{suffix}", num_classes=80)
    theirs = network(package, f"yolov13{suffix}.yaml", letter)
    assert count_parameters(theirs) == count_parameters(ours) + DFL_CONSTANTS


def neck_rows(neck, hyperace):
    """Rows of YOLOv13's neck, counted from HyperACE's, and our modules that belong there."""
    tunnels = neck.tunnels
    modules = {
        0: neck.correlate, 3: neck.enhance5, 4: tunnels["in4"], 5: tunnels["in3"], 6: tunnels["in5"], 9: neck.down4,
        10: tunnels["down4"], 13: neck.down3, 14: neck.enhance3, 15: tunnels["out3"], 16: neck.stride3, 18: neck.up4,
        19: tunnels["out4"], 20: neck.stride4, 22: neck.up5, 23: tunnels["out5"],
    }  # fmt: skip
    return {hyperace + row: module for row, module in modules.items()}


def test_yolov13_is_wired_as_our_detectors_of_that_name(package):
    for suffix in ("", "-ghostnetv3"):
        ours = enliven(build_model(f"yolov13n{suffix}", num_classes=80).double())
        theirs = enliven(network(package, f"yolov13{suffix}.yaml").double(), seed=1)
        if suffix:
            rows = {0: ours.backbone, **{4 + level: fit for level, fit in enumerate(ours.neck.fit)}}
        else:
            stages = (ours.backbone.to_stride8, ours.backbone.to_stride16, ours.backbone.to_stride32)
            rows = dict(enumerate(module for stage in stages for module in stage))
        rows |= neck_rows(ours.neck, len(rows) + (3 if suffix else 0))
        for gate, tunnel in enumerate(ours.neck.tunnels.values()):
            tunnel.gate.data.fill_(0.1 * (gate + 1))  # a tunnel mistaken for another would be seen
        for row, module in rows.items():
            target = theirs.model[row]
            state = module.state_dict()
            if type(target).__name__ == "Conv":  # the package's own, which calls its norm bn
                state = {key.replace("norm.", "bn."): value for key, value in state.items()}
            getattr(target, "module", target).load_state_dict(state)
        same_constants(ours)
        given = []
        theirs.model[-1].register_forward_pre_hook(lambda layer, inputs, given=given: given.extend(inputs[0]))
        images = pictures(torch.float64)
        with torch.no_grad():
            theirs(images)
            expected = ours.neck(ours.backbone(images))
        for level, reference in zip(given, expected, strict=True):
            assert torch.allclose(level, reference, atol=1e-9)


def test_detect_has_the_light_class_branch_in_yolov13_and_the_dense_one_in_yolov8(package):
    light, dense = (network(package, name).model[-1] for name in ("yolov13-ghostnetv3.yaml", "yolov8-ghostnetv3.yaml"))
    assert isinstance(light.cv3[0][0], torch.nn.Sequential)
    assert not isinstance(dense.cv3[0][0], torch.nn.Sequential)


def test_yolo26_keeps_its_second_head_without_nms_and_boxes_without_distributions(package):
    head = network(package, "yolo26-ghostnetv3.yaml").model[-1]
    assert head.reg_max == 1
    assert len(head.one2one_cv2) == len(head.cv2) == 3

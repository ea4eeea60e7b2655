"""Our layers inside the released ultralytics package: honest channels, right wiring, exact folding, its four calls."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys

import pytest
import torch

from ghostyolo import extras
from ghostyolo.errors import ConfigError, MissingExtraError
from ghostyolo.integrations.ultralytics import hooks, model_files, register, unregister
from ghostyolo.models import build_model
from ghostyolo.models.count import count_parameters
from ghostyolo.models.registry import build_part, scale_params
from ghostyolo.nn.reparam import RepConv
from tests.integrations.ultralytics_runs import QUIET, enliven, write_squares

DFL_CONSTANTS = 16  # that package's Detect holds the numbers 0 to 15 as a parameter
GHOSTS = [name for name in model_files() if "ghostnetv3" in name]


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The package with our layers registered, its settings in a folder of their own."""
    os.environ.update(
        YOLO_CONFIG_DIR=str(tmp_path_factory.mktemp("settings")), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false"
    )
    reason = 'the ultralytics package is absent: pip install "ghostyolo[ultralytics]"'
    module = pytest.importorskip("ultralytics", reason=reason)
    register()
    yield module
    unregister()


@pytest.fixture
def tasks(package):
    from ultralytics.nn import tasks

    register()
    return tasks


def at_scale(name: str, letter: str) -> str:
    return re.sub(r"^(yolov?\d+)", rf"\1{letter}", name)


def network(package, name: str, letter: str = "n"):
    return package.YOLO(at_scale(name, letter), verbose=False).model


def pictures(dtype=torch.float32, width=96):
    return torch.rand(1, 3, 64, width, generator=torch.Generator().manual_seed(0)).to(dtype)


# Without the package


def test_importing_the_integration_imports_neither_torch_nor_the_package():
    code = (
        "import sys, ghostyolo.integrations.ultralytics as i; i.model_files(); "
        "print({'torch', 'ultralytics', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_register_without_the_package_gives_the_line_to_type(monkeypatch):
    unregister()
    monkeypatch.setitem(extras._PROBES, "ultralytics", ("a_package_that_is_absent",))
    with pytest.raises(MissingExtraError) as caught:
        register()
    assert str(caught.value) == 'register() needs the "ultralytics" extra: pip install "ghostyolo[ultralytics]"'


# Registering


def test_registering_twice_is_registering_once_and_unregister_takes_all_back(tasks):
    unregister()
    originals = tasks.parse_model, tasks.check_yaml, tasks.BaseModel.fuse
    register()
    wrapped = tasks.parse_model, tasks.check_yaml, tasks.BaseModel.fuse
    register()
    assert (tasks.parse_model, tasks.check_yaml, tasks.BaseModel.fuse) == wrapped
    assert not set(wrapped) & set(originals)
    unregister()
    assert (tasks.parse_model, tasks.check_yaml, tasks.BaseModel.fuse) == originals
    unregister()
    register()


def test_an_unfit_version_is_refused_with_the_tested_range(package, tasks, monkeypatch):
    unregister()
    monkeypatch.setattr(package, "__version__", "8.3.253")
    with pytest.raises(MissingExtraError, match=rf"8\.3\.253 .*too old.*{hooks.OLDEST} to {hooks.NEWEST_TESTED}: pip"):
        register()
    monkeypatch.setattr(package, "__version__", "9.0.0")
    monkeypatch.delattr(tasks, "Index")
    with pytest.raises(MissingExtraError, match="has no Index"):
        register()
    assert not hasattr(tasks.parse_model, "__wrapped__")


def test_models_of_the_package_are_built_as_before(package, tasks):
    unregister()
    torch.manual_seed(0)
    before = package.YOLO("yolo11n.yaml", verbose=False).model
    register()
    torch.manual_seed(0)
    after = package.YOLO("yolo11n.yaml", verbose=False).model
    for (name, one), (same_name, other) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert name == same_name
        assert torch.equal(one, other)


def test_names_are_found_from_any_folder_but_a_file_there_comes_first(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert network(package, "yolo11-ghostnetv3.yaml").yaml["backbone"][0][2] == "ghostyolo.Backbone"
    text = model_files()["yolo11-ghostnetv3.yaml"].read_text().replace("nc: 80", "nc: 7")
    (tmp_path / "yolo11-ghostnetv3.yaml").write_text(text)
    assert network(package, "yolo11-ghostnetv3.yaml").yaml["nc"] == 7


# Channels and wiring


@pytest.mark.parametrize("name", GHOSTS)
def test_the_backbone_inside_is_ours_and_its_levels_are_the_last_blocks(package, name):
    model = enliven(network(package, name))
    kind, *given = model.yaml["backbone"][0][3]
    params = {**scale_params("backbone", kind, "n"), **({"width": given[0]["width"]["n"]} if given else {})}
    backbone = build_part("backbone", kind, params, {"in_channels": 3})
    assert count_parameters(model.model[0]) == count_parameters(backbone)
    backbone.load_state_dict(model.model[0].module.state_dict())
    for norm in backbone.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.eps = 1e-3  # the package gives every batch norm its own constant
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
    from ghostyolo.integrations.ultralytics.rows import Size, read_row

    declaration = tasks.yaml_model_load(at_scale("yolo11-ghostnetv3.yaml", letter))
    assert read_row(0, declaration["backbone"][0], Size.of(declaration)).params == {"width": width}


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


def test_yolov13_on_ghostnet_is_wired_as_our_detector_of_that_name(package):
    ours = enliven(build_model("yolov13n-ghostnetv3", num_classes=80).double())
    theirs = enliven(network(package, "yolov13-ghostnetv3.yaml").double(), seed=1)
    neck, tunnels = ours.neck, ours.neck.tunnels
    rows = {
        0: ours.backbone, 4: neck.fit[0], 5: neck.fit[1], 6: neck.fit[2], 7: neck.correlate, 10: neck.enhance5,
        11: tunnels["in4"], 12: tunnels["in3"], 13: tunnels["in5"], 16: neck.down4, 17: tunnels["down4"],
        20: neck.down3, 21: neck.enhance3, 22: tunnels["out3"], 23: neck.stride3, 25: neck.up4, 26: tunnels["out4"],
        27: neck.stride4, 29: neck.up5, 30: tunnels["out5"],
    }  # fmt: skip
    for gate, tunnel in enumerate(tunnels.values()):
        tunnel.gate.data.fill_(0.1 * (gate + 1))  # a tunnel mistaken for another would be seen
    for row, module in rows.items():
        layer = theirs.model[row]
        state = {key.replace("norm.", "bn.") if row in (23, 27) else key: value for key, value in
                 module.state_dict().items()}  # fmt: skip
        getattr(layer, "module", layer).load_state_dict(state)
    for norm in ours.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.eps = 1e-3
    images = pictures(torch.float64)
    given = []
    theirs.model[-1].register_forward_pre_hook(lambda layer, inputs: given.extend(inputs[0]))
    with torch.no_grad():
        theirs(images)
        expected = neck(ours.backbone(images))
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


# A YAML of the user's own

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
        (
            {"row1": [-1, 1, "ghostyolo.GhostModul", [64]]},
            r"row 1 \(ghostyolo.GhostModul\): unknown layer.*GhostModule",
        ),
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
    monkeypatch.setattr(
        tasks, "Index", type("Index", (tasks.Index,), {"__init__": lambda self, *_: torch.nn.Module.__init__(self)})
    )
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


# Folding


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        ("yolo11-ghostnetv3.yaml", torch.float32, 1e-4),
        ("yolov13-ghostnetv3-psa.yaml", torch.float32, 1e-4),
        ("yolov13.yaml", torch.float32, 1e-4),
        ("yolov13-ghostnetv3.yaml", torch.float64, 1e-9),
    ],
)
def test_fuse_folds_everything_exactly(package, name, dtype, tolerance):
    model = enliven(network(package, name).to(dtype))
    images = pictures(dtype)
    with torch.no_grad():
        boxes_and_scores = model(images)[0]
        parameters = count_parameters(model)
        folded = model.fuse(verbose=False)
        # Boxes are pixels, up to 96: of those float32 keeps seven digits.
        assert torch.allclose(folded(images)[0], boxes_and_scores, rtol=tolerance / 10, atol=tolerance)
    assert folded.is_fused()
    assert count_parameters(folded) < parameters
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d | RepConv)]
    assert not any(parameter.requires_grad for parameter in folded.model[0].parameters())
    state = {key: value.clone() for key, value in folded.state_dict().items()}
    again = folded.fuse(verbose=False).state_dict()
    assert all(torch.equal(again[key], value) for key, value in state.items())


def test_fuse_leaves_the_branches_of_a_quantization_aware_network(package):
    model = network(package, "yolo11-ghostnetv3.yaml")
    model.model[0].module.stem.add_module("quantizer", type("TensorQuantizer", (torch.nn.Module,), {})())
    model.fuse(verbose=False)
    assert [module for module in model.modules() if isinstance(module, RepConv)]


def test_a_copy_as_of_the_moving_average_has_weights_of_its_own(package):
    model = enliven(network(package, "yolov13-ghostnetv3.yaml"))
    shadow = copy.deepcopy(model)
    images = pictures(width=64)
    with torch.no_grad():
        before = model(images)[0]
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(shadow(images)[0], before)


# The four calls


@pytest.fixture(
    scope="module", params=["yolo11n-ghostnetv3.yaml", "yolov13n-ghostnetv3-psa.yaml", "yolo26n-ghostnetv3.yaml"]
)
def trained(request, package, tmp_path_factory):
    """Weights of one epoch on eight pictures, and the data."""
    register()
    folder = tmp_path_factory.mktemp("trained")
    data = write_squares(folder / "data")
    detector = package.YOLO(request.param)
    detector.train(data=str(data), epochs=1, imgsz=64, batch=4, project=str(folder), name="run", amp=False, **QUIET)
    return folder / "run" / "weights" / "best.pt", data


@pytest.mark.slow
def test_train_val_and_predict_run_on_the_saved_weights(package, trained):
    weights, data = trained
    metrics = package.YOLO(weights).val(data=str(data), imgsz=64, project=str(weights.parent), **QUIET)
    assert 0 <= metrics.box.map <= 1
    picture = data.parent / "images" / "val" / "0.png"
    results = package.YOLO(weights).predict(str(picture), imgsz=64, conf=0.0, device="cpu", verbose=False)
    assert len(results) == 1
    assert results[0].boxes.xyxy.isfinite().all()
    assert len(results[0].boxes) > 0


@pytest.mark.slow
def test_weights_opened_in_another_process_fold_there(trained):
    weights, _ = trained
    code = (
        "import sys, torch; from ultralytics import YOLO; model = YOLO(sys.argv[1]); model.fuse(verbose=False); "
        "print(sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.model.modules()), 'left')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(weights)], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("0 left")


@pytest.mark.slow
def test_the_exported_file_is_the_folded_network(package, trained):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    weights, _ = trained
    path = package.YOLO(weights).export(format="onnx", imgsz=64, device="cpu", verbose=False)
    folded = package.YOLO(weights).model.float().eval().fuse(verbose=False)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Conv") == sum(isinstance(module, torch.nn.Conv2d) for module in folded.modules())
    images = pictures(width=64)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(found), folded(images)[0], atol=1e-3)

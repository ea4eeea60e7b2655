"""Calibration pictures, fake rounding and sensitivity, with numbers worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from ghostyolo.errors import ConfigError, DataError, SourceError
from ghostyolo.export.deployed import fold_for_device
from ghostyolo.export.formats.onnx import compact
from ghostyolo.export.quantise.calibration import canvases_of_data, canvases_of_folder, choose
from ghostyolo.export.quantise.float_layers import rank_layers, well_known
from ghostyolo.export.quantise.int8_report import QuantisationReport
from ghostyolo.nn.fake_quant import observe, round_activation, round_weight, with_fake_quant
from tests.export.quantise.builders import canvases, detector
from tests.train import tiny


def test_pictures_are_spread_evenly_and_the_seed_sets_where():
    assert choose(5, 9) == [0, 1, 2, 3, 4]
    chosen = choose(100, 10)
    assert np.diff(chosen).tolist() == [10] * 9
    assert choose(100, 10) == chosen != choose(100, 10, seed=1)
    assert max(choose(205, 100, seed=3)) < 205
    with pytest.raises(ConfigError, match="at least 1"):
        choose(5, 0)


def test_canvases_of_a_data_set_are_its_train_pictures_letterboxed(tmp_path):
    root = tiny.write_yolo(tiny.squares(tmp_path))
    found = canvases_of_data(root, (64, 96))
    assert [canvas.shape for canvas in found] == [(1, 3, 64, 96)] * 6
    # 64 x 48 pictures fill 85 x 64 of the canvas; the rest is the grey of letterboxes.
    assert found[0][0, :, 0, 0] == pytest.approx(114 / 255)
    assert found[0][0, :, 0, 10] == pytest.approx(128 / 255)
    assert len(canvases_of_data(root, (64, 64), images=2)) == 2


def test_canvases_of_a_folder_skip_what_is_broken_and_need_one_picture(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert len(canvases_of_folder(tmp_path, (32, 32))) == 1
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="none of 1 pictures"):
        canvases_of_folder(tmp_path, (32, 32))
    with pytest.raises(SourceError, match="does not exist"):
        canvases_of_folder(tmp_path / "absent", (32, 32))


def test_deep_pictures_of_a_folder_have_one_range(tmp_path):
    for name, value in (("a", 1000), ("b", 4000)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((20, 20), value, np.uint16))
    dark, bright = (canvas.mean() for canvas in canvases_of_folder(tmp_path, (32, 32)))
    assert (dark, bright) == (pytest.approx(1000 / 4095, abs=0.01), pytest.approx(4000 / 4095, abs=0.01))
    dark = canvases_of_folder(tmp_path, (32, 32), pixel_range=(0, 8000))[0].mean()
    assert dark == pytest.approx(1000 / 8000, abs=0.01)  # the network's own goes first


def test_a_data_set_without_train_split_says_what_to_give(tmp_path):
    root = tiny.write_yolo(tiny.squares(tmp_path))
    (root / "data.yaml").write_text("path: .\nval: val\nnames: [red, green]\n")
    with pytest.raises(DataError, match="--calibration FOLDER"):
        canvases_of_data(root, (64, 64))


def test_weights_are_rounded_to_127_steps_of_their_own_channel():
    weight = torch.tensor([[127.0, -1.4], [1.27, 0.004]]).view(2, 2, 1, 1)
    expected = torch.tensor([[127.0, -1.0], [1.27, 0.0]]).view(2, 2, 1, 1)
    torch.testing.assert_close(round_weight(weight), expected)
    torch.testing.assert_close(round_weight(torch.zeros(1, 1, 1, 1)), torch.zeros(1, 1, 1, 1))


def test_activations_have_256_steps_that_hold_zero():
    values = torch.tensor([-1.0, 0.0, 0.4, 1.6, 300.0])
    torch.testing.assert_close(round_activation(values, 0.0, 255.0), torch.tensor([0.0, 0.0, 0.0, 2.0, 255.0]))
    torch.testing.assert_close(round_activation(torch.tensor([0.0]), 5.0, 10.0), torch.tensor([0.0]))


def test_gradients_pass_rounding_as_if_it_were_not_there():
    weight = torch.tensor([1.0, 0.3]).view(1, 2, 1, 1).requires_grad_()
    round_weight(weight).sum().backward()
    assert weight.grad.flatten().tolist() == [1.0, 1.0]


def test_a_fake_quantised_network_has_the_same_weights_and_only_rounds_when_told():
    folded = fold_for_device(detector()[0])
    image = torch.from_numpy(canvases()[0])
    expected = folded(image)[0]
    names = list(folded.state_dict())
    convs = with_fake_quant(folded)
    assert list(folded.state_dict()) == names
    with observe(convs):
        folded(image)
    assert torch.equal(folded(image)[0], expected)
    first = next(iter(convs.values()))
    assert (first.low, first.high) == (float(image.min()), float(image.max()))
    for conv in convs.values():
        conv.rounds = True
    assert not torch.equal(folded(image)[0], expected)


def test_a_layer_with_an_outlier_is_the_most_sensitive_and_order_is_by_error_a_weight():
    folded = fold_for_device(detector()[0])
    path = "backbone.fine.0"
    with torch.no_grad():
        # Weights a thousand times the others, for a colour that no picture has: of the others nothing is left.
        folded.get_submodule(path).weight[:, 0] = 1e3
    before = {name: tensor.clone() for name, tensor in folded.state_dict().items()}
    errors = rank_layers(folded, [canvas * np.float32([0, 1, 1]).reshape(1, 3, 1, 1) for canvas in canvases()])
    assert max(errors, key=errors.get) == path
    per_weight = [error / folded.get_submodule(path).weight.numel() for path, error in errors.items()]
    assert per_weight == sorted(per_weight, reverse=True)
    assert set(errors) == {name for name, module in folded.named_modules() if isinstance(module, nn.Conv2d)}
    assert all(torch.equal(tensor, before[name]) for name, tensor in folded.state_dict().items())


def test_well_known_layers_are_the_first_and_the_box_outputs():
    folded = fold_for_device(detector()[0])
    assert well_known(folded) == ["backbone.fine.0", "head.box.0.2", "head.box.1.2", "head.box.2.2"]
    assert well_known(nn.Module()) == []


def test_compact_merges_equal_constants_and_keeps_public_names():
    def constant(name, values):
        return numpy_helper.from_array(np.array(values, np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Add", ["0", "one"], ["sum"], "first_addition"),
            helper.make_node("Clip", ["sum", "", "uno"], ["boxes"], "cut"),
        ],
        "g",
        [helper.make_tensor_value_info("0", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [2])],
        [constant("one", 1.0), constant("uno", 1.0), constant("unused", [3.0, 4.0])],
    )
    model = compact(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))
    onnx.checker.check_model(model)
    assert [list(node.input) for node in model.graph.node] == [["0", "1"], ["2", "", "1"]]
    assert model.graph.node[1].output == ["boxes"]
    assert len(model.graph.initializer) == 2


def report(**changes):
    fields = {
        "format": "onnx", "engine": "onnxruntime", "calibration_images": 3, "megabytes_float": 10.0, "megabytes": 2.5,
        "ap_float": 0.5, "ap": 0.485, "max_drop": 1.0, "ms_float": 20.0, "ms": 10.0, "canvas": (64, 96), "layers": 9,
    }  # fmt: skip
    return QuantisationReport(**{**fields, **changes})


def test_a_report_gives_ratios_and_points():
    values = report().to_dict()
    assert values["size_ratio"] == 0.25
    assert values["latency_ratio"] == 0.5
    assert values["ap_drop_points"] == pytest.approx(1.5)
    assert report().too_far
    assert not report(ap=0.495).too_far
    assert not report(ap=None).too_far
    assert "1.50 points less" in report().lines()[2]
    assert "not measured" in report(ap=None, ap_float=None).lines()[2]

"""Folding, and that package's four calls: train, val, predict, export."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch

from ghostyolo.integrations.ultralytics.layer import Layer
from ghostyolo.models.count import count_parameters
from ghostyolo.nn.reparam import RepConv
from tests.integrations.ultralytics.builders import QUIET, enliven, network, pictures


@pytest.mark.parametrize("name", ["yolo11-ghostnetv3.yaml", "yolov13-ghostnetv3-psa.yaml", "yolov13.yaml"])
def test_fuse_folds_everything_exactly(package, name):
    model = enliven(network(package, name))
    images = pictures()
    with torch.no_grad():
        boxes_and_scores = model(images)[0]
        parameters = count_parameters(model)
        folded = model.fuse(verbose=False)
        # Boxes are pixels, up to 96: of those float32 keeps seven digits.
        assert torch.allclose(folded(images)[0], boxes_and_scores, rtol=1e-5, atol=1e-4)
    assert folded.is_fused()
    assert count_parameters(folded) < parameters
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d | RepConv)]
    assert not any(parameter.requires_grad for parameter in folded.model[0].parameters())
    state = {key: value.clone() for key, value in folded.state_dict().items()}
    again = folded.fuse(verbose=False).state_dict()
    assert all(torch.equal(again[key], value) for key, value in state.items())


def test_our_layers_fold_exactly_in_double_precision(package):
    model = enliven(network(package, "yolov13-ghostnetv3.yaml").double())
    images = pictures(torch.float64)
    with torch.no_grad():
        expected = model(images)[0]
        for layer in model.model:
            if isinstance(layer, Layer):
                layer.fold()
        assert torch.allclose(model(images)[0], expected, rtol=0, atol=1e-9)
    assert not [module for module in model.modules() if isinstance(module, RepConv)]


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
        "import sys, torch; from ultralytics import YOLO; model = YOLO(sys.argv[1]).model; model.fuse(verbose=False); "
        "print(sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules()), 'left')"
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

"""All passes together: whole detectors, files, and the switch."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from ghostyolo.export.deployed import DeployedModel, ExportJob, fold_for_device
from ghostyolo.export.exporter import export_network
from ghostyolo.export.options import ExportOptions
from ghostyolo.export.rewrite.rewriter import PASSES, rewrite
from ghostyolo.metadata import ExportInfo
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.detector import build_model
from ghostyolo.runtime.engines import open_engine
from tests.export.mobile import confident_model
from tests.models.test_ghostnet import scramble_norms
from tests.train import tiny

HEAD = {"type": "dfl", "bins": 4}
NECK = DetectorConfig.from_dict(
    {"name": "neck", "backbone": "test-convs", "neck": {"type": "hyperace_fullpad", "width": 0.125}, "head": HEAD},
    "tests",
)
BACKBONE = DetectorConfig.from_dict(
    {
        "name": "backbone",
        "backbone": {"type": "ghostnetv3", "width": 0.25, "branches": 1},
        "neck": "test-none",
        "head": HEAD,
    },
    "tests",
)


def lively(name: str | DetectorConfig) -> DeployedModel:
    """A folded detector whose answers depend on all of its layers, in float64."""
    torch.manual_seed(0)
    model = build_model(name, num_classes=3)
    scramble_norms(model)
    with torch.no_grad():
        for path, values in model.named_parameters():
            if path.endswith("gate"):
                values.fill_(0.5)  # tunnels start closed
    return DeployedModel(fold_for_device(model), "decoded").double()


def compare(name: str | DetectorConfig) -> None:
    network = lively(name)
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        expected = network(images)
    assert expected[1].std() > 0.01 * expected[1].mean()  # else any network would give these scores
    made = rewrite(network, images, block=16)
    for module in (made.module, made.program.module()):
        with torch.no_grad():
            found = module(images)
        for one, other in zip(expected, found, strict=True):
            assert (one - other).abs().max() < 1e-8 * one.abs().max()


@pytest.mark.parametrize("part", [NECK, BACKBONE], ids=lambda part: part.name)
def test_small_detectors_are_equal(part):
    compare(part)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *(
            "yolov13p-ghostnetv3",
            "yolov13n",
            "yolov13s-ghostnetv3",
            "yolov13n-ghostnetv3-psa",
            "yolov13n-ghostnetv3-e2e",
            "yolov8n",
        ),
        *("yolov8n-ghostnetv3", "yolox-nano", "yolox-tiny", "yolov7-tiny", "yolov5n"),
    ],
)
def test_detectors_of_the_zoo_are_equal(name):
    compare(name)


def test_files_of_both_kinds_agree_and_the_report_says_what_was_done(tmp_path):
    torch.manual_seed(0)
    model = build_model(BACKBONE, num_classes=2)
    scramble_norms(model)
    options, metadata = ExportOptions(dynamic=False), tiny.model_and_metadata()[1]
    made = export_network(model, metadata, tmp_path / "rewritten.onnx", "onnx", options)
    plain = export_network(
        model, metadata, tmp_path / "plain.onnx", "onnx", dataclasses.replace(options, rewrite=False)
    )
    assert any("concatenation" in line for line in made.rewriting)
    assert plain.rewriting == ()
    kinds = [[node.op_type for node in onnx.load(result.path).graph.node].count("Concat") for result in (made, plain)]
    assert kinds[0] < kinds[1]
    names = [node.name for node in onnx.load(made.path).graph.node if node.op_type == "Conv"]
    assert all(name.startswith(("backbone.", "neck.", "head.")) for name in names)
    images = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    for one, other in zip(*(open_engine(result.path)(images) for result in (made, plain)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_int8_files_are_written_from_the_layers_of_the_network():
    model, metadata = confident_model()
    info = ExportInfo(format="onnx", precision="int8", batch=1, height=64, width=64)
    job = ExportJob(
        DeployedModel(fold_for_device(model), "decoded"), metadata.model_copy(update={"export": info}), ExportOptions()
    )
    assert job.rewritten() is None
    assert job.traceable() is job.model


def test_only_formats_that_gain_are_rewritten_unless_it_is_asked_for():
    model, metadata = confident_model()
    deployed = DeployedModel(fold_for_device(model), "decoded")

    def is_rewritten(format: str, rewrite: bool | None) -> bool:
        info = ExportInfo(format=format, precision="fp32", batch=1, height=64, width=64)
        options = ExportOptions(dynamic=False, rewrite=rewrite)
        return ExportJob(deployed, metadata.model_copy(update={"export": info}), options).rewritten() is not None

    assert [is_rewritten(name, None) for name in ("onnx", "openvino", "mnn", "ncnn")] == [True, True, False, False]
    assert is_rewritten("ncnn", True)
    assert not is_rewritten("onnx", False)


def test_each_pass_can_be_left_out():
    network, images = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval(), torch.rand(1, 3, 4, 4)
    for name in ("hypergraph", *PASSES):
        made = rewrite(network, images, leave_out=(name,))
        assert name not in [report.name for report in made.reports]
        assert len(made.reports) == len(PASSES)

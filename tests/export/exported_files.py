"""What every format is held to, on a network of a few thousand weights whose answers depend on the picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ghostyolo.export.exporter import export_network
from ghostyolo.export.options import ExportOptions
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models import build_model
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.registry import register_neck
from ghostyolo.runtime.engines import open_engine
from ghostyolo.runtime.predictor import Predictor
from tests.train import tiny  # noqa: F401  registers the parts of bare networks

CLASS_NAMES = ["a", "b"]
HEIGHT, WIDTH = 64, 96


@torch.library.custom_op("ghostyolotest::twist", mutates_args=())
def twist(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


@twist.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Twist(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return twist(x)


@register_neck("test-twist")
class TwistNeck(nn.Module):
    """A neck with an operator that no format has."""

    def __init__(self, in_channels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = in_channels
        self.twisting = Twist()

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        return [self.twisting(features[0]), *features[1:]]


def network(neck: str = "test-none") -> DetectionModel:
    torch.manual_seed(0)
    parts = {"backbone": "test-convs", "neck": neck, "head": {"type": "dfl", "bins": 4}}
    model = build_model(DetectorConfig.from_dict(parts, "test"), num_classes=2).eval()
    with torch.no_grad():
        for parameter in model.head.parameters():  # the head starts so that all pictures get nearly the same answer
            parameter.copy_(torch.randn_like(parameter) * 0.7)
    return model


METADATA = ModelMetadata(model="test", class_names=CLASS_NAMES, imgsz=64)


def export(path: Path, format: str, **options) -> Path:
    return export_network(network(), METADATA, path, format, ExportOptions(imgsz=(HEIGHT, WIDTH), **options)).path


def assert_answers_as_the_network(path: Path, name: str, batch: int = 1, atol: float = 1e-3) -> None:
    """Boxes and scores of a file against the network's, fed with memory in the order of picture files."""
    engine = open_engine(path, threads=1)
    assert engine.name == name
    assert engine.metadata.deployed
    assert engine.metadata.class_names == CLASS_NAMES
    assert engine.metadata.export.canvas == (HEIGHT, WIDTH)
    assert engine.metadata.export.batch == batch
    pictures = np.random.default_rng(0).random((3, HEIGHT, WIDTH, 3), dtype=np.float32)
    images = pictures.transpose(0, 3, 1, 2)
    boxes, scores = engine(images)
    with torch.no_grad():
        expected_boxes, expected_scores = network()(torch.from_numpy(images))
    assert expected_scores.std(0).max() > 0.01  # the pictures matter
    assert expected_boxes.std(0).max() > 0.1
    np.testing.assert_allclose(boxes, expected_boxes.numpy(), atol=atol)
    np.testing.assert_allclose(scores, expected_scores.numpy(), atol=1e-5)
    detections = Predictor(engine).detect([np.zeros((50, 40, 3), np.uint8)], confidence=0.0)[0]
    assert len(detections) > 0


def assert_outputs_keep_their_order(path: Path, format: str) -> None:
    """A file of raw maps names each map after its stride, and gives a map of that stride under the name."""
    export(path, format, output="raw")
    engine = open_engine(path)
    assert engine.metadata.export.outputs == ["level_8", "level_16", "level_32"]
    maps = engine.run(np.zeros((1, 3, HEIGHT, WIDTH), np.float32))
    assert [one.shape for one in maps] == [(1, 18, HEIGHT // s, WIDTH // s) for s in (8, 16, 32)]


def console_of_an_export(path: Path, format: str) -> str:
    """What reaches the file descriptors 1 and 2 of a process that exports and opens a file."""
    code = (
        "import sys; from pathlib import Path; from tests.export import exported_files as files\n"
        "files.export(Path(sys.argv[1]), sys.argv[2]); files.open_engine(sys.argv[1]); print('done')"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(path), format], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return (run.stdout + run.stderr).strip()


def assert_runs_with_closed_output(path: Path, shape: tuple[int, ...] = (1, 3, HEIGHT, WIDTH)) -> None:
    """A process without standard output, as a service may be, opens a file and runs it."""
    code = (
        "import sys; import numpy as np; from ghostyolo.runtime.engines import open_engine\n"
        f"answer = open_engine(sys.argv[1])(np.zeros({shape}, np.float32))\n"
        "print(*(array.shape[0] for array in answer), file=sys.stderr)"
    )
    command = ["sh", "-c", '"$0" -W ignore -c "$1" "$2" >&-', sys.executable, code, str(path)]
    run = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stderr == f"{shape[0]} {shape[0]}\n"


def parity_report(path: Path) -> dict:
    return json.loads(path.with_name(path.name + ".parity.json").read_text())

"""Imported weights are trained from, taught by and exported like our own, and their licence goes on."""

from __future__ import annotations

import io

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from rich.console import Console  # noqa: E402

from ghostyolo.export.exporter import export_detector  # noqa: E402
from ghostyolo.integrations.published.importer import import_checkpoint  # noqa: E402
from ghostyolo.models import build_model  # noqa: E402
from ghostyolo.models.weights import read_checkpoint  # noqa: E402
from ghostyolo.runtime.engines import open_engine  # noqa: E402
from ghostyolo.train.detection.start import train_detector  # noqa: E402
from tests.integrations.published.builders import their_tensors  # noqa: E402
from tests.train import tiny  # noqa: E402

OPTIONS = {**tiny.RECIPE, "epochs": 1, "batch": 4, "lr": 1e-9}  # nothing is learned, so that weights can be compared


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A YOLOX-Nano of a program of its own, which named two classes of the data's in another order."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("imported")
    tensors = their_tensors(build_model("yolox-nano", num_classes=3))
    torch.save({"model": tensors, "names": ["green", "blue", "red"]}, folder / "x.pth")
    return import_checkpoint(folder / "x.pth", "yolox-nano", folder / "yolox-nano.safetensors").path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_yolo(tiny.squares(tmp_path_factory.mktemp("data"), train=4, val=2))


def run(data, out, model=None, **options):
    """Train one epoch; the last checkpoint's tensors and metadata, and what was printed."""
    page = io.StringIO()
    console = Console(file=page, width=200)
    result = train_detector(data, model, out=out, options={**OPTIONS, **options}, console=console)
    return *read_checkpoint(result.last), page.getvalue()


def test_a_run_begins_from_all_that_fits_and_says_whose_it_is(imported, data, tmp_path):
    tensors, metadata, page = run(data, tmp_path / "run", weights=str(imported))
    theirs, _ = read_checkpoint(imported)
    name = "backbone.to_stride8.0.conv.weight"
    torch.testing.assert_close(tensors[name], theirs[name], rtol=0, atol=1e-6)
    torch.testing.assert_close(tensors["head.cls.0.bias"], theirs["head.cls.0.bias"][[2, 0]], rtol=0, atol=1e-6)
    assert "with the rows of red, green" in page
    (origin,) = metadata.derived_from
    assert (origin.name, origin.licence, origin.use) == ("YOLOX", "Apache-2.0", "weights")


def test_a_taught_run_says_whose_its_teacher_is(imported, data, tmp_path):
    taught = tmp_path / "taught.safetensors"
    two = build_model("yolox-nano", num_classes=2)
    torch.save({"model": their_tensors(two), "names": ["red", "green"]}, tmp_path / "x.pth")
    import_checkpoint(tmp_path / "x.pth", "yolox-nano", taught)
    _, metadata, page = run(data, tmp_path / "run", tiny.CONFIG, teacher=str(taught))
    assert "kd_features" in page
    (origin,) = metadata.derived_from
    assert (origin.name, origin.use) == ("YOLOX", "teacher")


def test_an_exported_file_keeps_whose_it_is(imported, tmp_path):
    """A tiny network stands for what was trained from it: writing the file is what takes long."""
    _, published = read_checkpoint(imported)
    model, metadata = tiny.model_and_metadata()
    metadata = metadata.model_copy(update={"derived_from": published.derived_from})
    result = export_detector((model, metadata), tmp_path / "x.onnx", imgsz=64, check=False)
    assert result.derived_from[0].line().startswith("licence of the weights: Apache-2.0 (YOLOX by Megvii, https://")
    assert open_engine(result.path).metadata.derived_from == list(result.derived_from)

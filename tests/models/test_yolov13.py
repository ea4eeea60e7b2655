"""YOLOv13 is the published network: the authors' tensors, parameter counts and FLOPs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ghostyolo.integrations.published.importer import import_checkpoint
from ghostyolo.models import build_model
from ghostyolo.models.costs import counted_row
from ghostyolo.models.count import count_parameters
from ghostyolo.models.weights import load_checkpoint
from ghostyolo.nn.reparam import fold, is_folded

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = Path(os.environ.get("GHOSTYOLO_GOLDEN", REPOSITORY.parent / "shared" / "reference" / "golden"))
WEIGHTS = "yolov13n_weights_fp16.safetensors"


def load_authors(folder):
    """Our network with the authors' weights, imported, and their tensors for one picture."""
    imported = import_checkpoint(GOLDEN / WEIGHTS, "yolov13n", folder / "yolov13n.safetensors")
    return load_checkpoint(imported.path)[0], load_file(GOLDEN / "yolov13n_io.safetensors")


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max()
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def check_authors_vectors(model, tensors):
    """Every tensor that the authors' network gave is reproduced."""
    with torch.no_grad():
        features = model.backbone(tensors["input"])
        for feature, name in zip(features, ("layer04", "layer06", "layer08"), strict=True):
            close(feature, tensors[name])
        close(model.neck.correlate(features), tensors["layer09"])
        levels = model.neck(features)
        for level, name in zip(levels, ("layer23", "layer27", "layer31"), strict=True):
            close(level, tensors[name])
        for raw, name in zip(model.head.raw(levels), ("raw_p3", "raw_p4", "raw_p5"), strict=True):
            close(raw, tensors[name])
        boxes, scores = model(tensors["input"])
    x1, y1, x2, y2 = boxes.unbind(-1)
    decoded = torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), 1)
    close(decoded, tensors["decoded"][:, :4])
    close(scores.transpose(1, 2), tensors["decoded"][:, 4:])


@pytest.fixture(scope="module")
def authors(tmp_path_factory):
    if not GOLDEN.is_dir():
        pytest.skip(f"the authors' vectors are not in {GOLDEN} (GHOSTYOLO_GOLDEN); test_golden.py has a small answer")
    return load_authors(tmp_path_factory.mktemp("authors"))


@pytest.mark.parametrize("folded", [False, True])
def test_every_tensor_of_the_authors_is_reproduced(authors, folded):
    model, tensors = authors
    if folded:
        model = fold(model)
        assert is_folded(model)
    check_authors_vectors(model, tensors)


@pytest.mark.parametrize(("scale", "params_m"), [("n", 2.49), ("s", 9.06), ("l", 27.6), ("x", 64.0)])
def test_published_parameter_count(scale, params_m):
    with torch.device("meta"):
        model = build_model(f"yolov13{scale}", num_classes=80)
    assert count_parameters(model) / 1e6 == pytest.approx(params_m, rel=0.01)


@pytest.mark.parametrize("scale", list("nslx"))
@pytest.mark.parametrize("variant", ["ghostnetv3", "ghostnetv3-psa"])
def test_ghost_variants_are_smaller_than_the_original(scale, variant):
    # tests/cli/test_models.py and test_published.py count the rows.
    original, ghost = (counted_row(name, 640, 80) for name in (f"yolov13{scale}", f"yolov13{scale}-{variant}"))
    assert ghost["params_deployed_m"] < original["params_deployed_m"]
    assert ghost["macs_g"] <= 0.8 * original["macs_g"]

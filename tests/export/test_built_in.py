"""A built-in detector through the command line in each of these formats: what it prints, and how near it comes."""

from __future__ import annotations

import json

import pytest

from ghostyolo.export.formats import find_format
from ghostyolo.export.parity import built_in_pictures
from ghostyolo.extras import available
from ghostyolo.runtime.engines import open_engine
from ghostyolo.runtime.predictor import Predictor


@pytest.mark.slow
@pytest.mark.parametrize("output", ["decoded", "raw"])
@pytest.mark.parametrize("name", ["torchscript", "executorch", "litert", "tnn"])
def test_the_command_exports_bccd_within_a_hundredth_of_a_pixel(run_cli, tmp_path, name, output):
    kind = find_format(name)
    missing = [extra for extra in kind.needs if not available(extra)]
    if missing:
        pytest.skip(f"needs ghostyolo[{','.join(missing)}]")
    out = tmp_path / f"bccd{kind.suffix}"
    run = run_cli("export", "--weights", "bccd", "--format", name, "--output", output, "--out", out, timeout=600)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert len(run.stdout.splitlines()) == 3
    report = json.loads(out.with_name(f"{out.name}.parity.json").read_text())
    assert report["pixels"] < 0.01
    assert report["score"] < 1e-4
    assert report["matched"] == report["detections"] > 0
    assert any(len(one) for one in Predictor(open_engine(out)).detect(built_in_pictures(3)))

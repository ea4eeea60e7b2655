"""``demo --train`` end to end, cut down: scenes, training, folding, and a folded checkpoint that runs."""

from __future__ import annotations

import pytest
from rich.console import Console

from ghostyolo.errors import OutputError
from ghostyolo.runtime.predictor import load
from ghostyolo.train.demo import DemoPlan, run


@pytest.mark.slow
def test_a_small_demo_leaves_a_folded_detector(tmp_path):
    plan = DemoPlan(train=16, val=8, imgsz=64, epochs=1)
    console = Console(record=True, width=160)
    weights, pictures = run(tmp_path / "demo", console, plan)
    predictor = load(weights)
    assert predictor.metadata.deployed
    assert len(list(predictor.predict(pictures))) == 6
    assert "4/4 fold" in console.export_text()


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(OutputError, match="not empty"):
        run(tmp_path, Console(quiet=True))

"""What ``fit`` measures, names and tells to run next, with measurements and scores that are given here."""

from __future__ import annotations

import shlex
from types import SimpleNamespace

import pytest

from ghostyolo.benchmark import fit as module
from ghostyolo.benchmark.budget import Budget
from ghostyolo.benchmark.candidates import Candidate
from ghostyolo.benchmark.compare import Labelled, Settings
from ghostyolo.benchmark.fit import fit
from ghostyolo.data.records import DetectionData
from ghostyolo.errors import ConfigError
from ghostyolo.metadata import ExportInfo
from tests.benchmark.rows import row
from tests.runtime.colour_model import CLASS_NAMES, metadata

SIZES = (320, 416, 640)


def network(name: str, imgsz: int, engine: str = "onnxruntime") -> Candidate:
    return Candidate(name, "network", name, engine, imgsz)


def trained(name: str, imgsz: int, kind: str = "checkpoint") -> Candidate:
    suffix = "safetensors" if kind == "checkpoint" else "onnx"
    return Candidate(name, kind, f"runs/{name}.{suffix}", "onnxruntime", imgsz)


@pytest.fixture
def machine(monkeypatch):
    """Takes 1 ms for 100 pixels of a side; has networks n of 1 G and s of 4 G; scores are looked up by the path."""
    asked: list[tuple[str, int]] = []
    scores: dict[str, float] = {}
    headers = SimpleNamespace(of={}, asked=asked, scores=scores)

    def measure(candidates, settings, **_):
        (one,) = candidates
        asked.append((one.model, one.imgsz))
        time = one.imgsz / 100 * (4 if one.model.startswith("s") else 1)
        return [row(model=one.model, engine=one.engine, imgsz=one.imgsz, median_ms=time, total_ms=time, threads=1)]

    def open_engine(place):
        return SimpleNamespace(metadata=headers.of.get(place, metadata(model="n", imgsz=320)))

    def score(path, settings, labelled, imgsz):
        return SimpleNamespace(AP=scores[path.stem, imgsz], AP50=0.9)

    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(module, "score", score)
    monkeypatch.setattr(module, "open_engine", open_engine)
    monkeypatch.setattr(module, "counted_row", lambda name, *_: {"macs_g": 4.0 if name.startswith("s") else 1.0})
    return headers


class NoBuilder:
    def path(self, candidate):
        from pathlib import Path

        return Path(candidate.place)


TEN = Budget(10)


def run(candidates, budget=TEN, labelled=None, **options):
    return fit(candidates, Settings(threads=1), budget, NoBuilder(), classes=4, labelled=labelled, **options)


def data(names=CLASS_NAMES) -> Labelled:
    return Labelled(DetectionData(None, "yolo", list(names), {"val": []}), "val")


def test_networks_are_named_by_their_work_and_trained_at_the_size(machine):
    candidates = [network(name, size) for name in ("n", "s") for size in SIZES]
    result = run(candidates, Budget(14), data="my data")
    # s at 320 px takes 12.8 ms and is 1.0 G; n at 640 px is 1.0 G too and takes 6.4 ms: the faster of equals.
    assert (result.chosen.model, result.chosen.imgsz, result.decided_by) == ("n", 640, "MACs")
    train, export = (shlex.split(line)[1:] for line in (result.train, result.export))
    assert train == ["train", "--data", "my data", "--model", "n", "--imgsz", "640", "--out", "runs/fit"]
    assert export[:3] == ["export", "--weights", "runs/fit/best.safetensors"]
    assert export[3:] == ["--format", "onnx", "--imgsz", "640", "--static"]
    assert {(one.candidate.model, one.candidate.imgsz) for one in result.skipped} & set(machine.asked) == set()
    assert len(result.skipped) + len(result.rows) == len(candidates)
    assert [one.ratio for one in result.rows if one is result.chosen] == [1]


def test_weights_are_named_by_their_ap_even_where_others_do_more_work(machine):
    machine.scores.update({("a", 320): 0.61, ("a", 640): 0.55})
    result = run([trained("a", 320), trained("a", 640)], labelled=data())
    assert (result.chosen.imgsz, result.chosen.AP, result.decided_by) == (320, 0.61, "AP")
    assert "--weights runs/a.safetensors --imgsz 320" in result.train
    assert result.to_json()["chosen"]["AP"] == 0.61


def test_what_does_not_fit_is_not_scored(machine):
    machine.scores.update({("a", 320): 0.4})
    result = run([trained("a", 320), trained("a", 416)], Budget(4), labelled=data())
    assert [one.AP for one in result.rows] == [0.4, None]


def test_weights_of_other_classes_are_refused(machine):
    with pytest.raises(ConfigError, match="not in the data"):
        run([trained("a", 320)], labelled=data(["red", "green", "cyan", "white"]))
    assert machine.asked == []


def test_a_file_of_one_size_is_not_asked_for_another(machine):
    fixed = ExportInfo(format="onnx", precision="int8", batch=1, height=320, width=320)
    machine.of["runs/a.onnx"] = metadata(model="n", export=fixed)
    result = run([trained("a", size, "file") for size in (320, 416)])
    assert machine.asked == [("a", 320)]
    assert result.skipped[0].reason == "the file takes 320 px only"
    # A file for a device cannot be trained on; its network can.
    assert "--model n --imgsz 320" in result.train
    assert result.export.endswith("--format onnx --imgsz 320 --static")
    with pytest.raises(ConfigError, match="no candidate can be measured: the file takes 320 px only"):
        run([trained("a", 416, "file")])


def test_nothing_fits(machine):
    result = run([network("n", size) for size in SIZES], Budget(1))
    assert (result.chosen, result.train, result.export) == (None, "", "")
    assert result.nearest.imgsz == 320
    assert machine.asked == [("n", 320)]


@pytest.mark.parametrize("budget", [Budget(0), Budget(-5), Budget(10, 0)])
def test_an_impossible_budget_is_refused(machine, budget):
    with pytest.raises(ConfigError, match="above 0"):
        run([network("n", 320)], budget)
    with pytest.raises(ConfigError, match="there is no candidate"):
        run([])

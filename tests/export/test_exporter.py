"""The command, ``Detector.export`` and the benchmark's builder export through one function, with the same arguments."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="exporting needs ghostyolo[train]")

from ghostyolo.benchmark.build import Builder
from ghostyolo.benchmark.candidates import Candidate
from ghostyolo.cli import main
from ghostyolo.cli.benchmark import benchmark
from ghostyolo.cli.export import export
from ghostyolo.cli.fit import fit
from ghostyolo.detector import Detector
from ghostyolo.errors import ConfigError
from ghostyolo.export import exporter
from ghostyolo.export.formats import export_formats
from ghostyolo.export.options import ExportOptions
from ghostyolo.runtime.engines import engine_kinds
from ghostyolo.runtime.weights import resolve_weights

ASKED = {"imgsz": 64, "dynamic": False, "batch": 2, "precision": "fp16"}


@pytest.fixture
def arrived(monkeypatch):
    """What reaches the exporter, by name, without exporting."""
    calls = []
    signature = inspect.signature(exporter.export_network)

    def spy(*arguments, **options):
        bound = signature.bind(*arguments, **options)
        bound.apply_defaults()
        calls.append(bound.arguments)
        return SimpleNamespace(
            path=None, megabytes=0, seconds=0, quantisation=None, rewriting=(), parity=None, derived_from=()
        )

    monkeypatch.setattr(exporter, "export_network", spy)
    return calls


def run_command(*arguments):
    main._register()
    done = CliRunner().invoke(main.app, ["export", "--weights", "bccd", *map(str, arguments)])
    assert done.exception is None, done.exception


def test_each_door_passes_the_same(arrived, tmp_path):
    out = tmp_path / "m.onnx"
    run_command("--out", out, "--imgsz", 64, "--static", "--batch", 2, "--precision", "fp16")
    Detector("bccd").export("onnx", out, **ASKED)
    place = str(resolve_weights("bccd", suffixes=(".safetensors",)))
    Builder(tmp_path, batch=2).path(Candidate("bccd", "checkpoint", place, "onnxruntime", 64, "fp16"))
    command, python, benchmark = arrived
    assert command["options"] == python["options"] == benchmark["options"] == ExportOptions(**ASKED)
    assert command["metadata"] == python["metadata"] == benchmark["metadata"]
    assert command["format"] == python["format"] == benchmark["format"] == "onnx"
    assert command["out"] == python["out"] == out
    assert (command["check"], python["check"], benchmark["check"]) == (True, True, False)


def test_without_a_place_both_doors_choose_the_same(arrived, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_command("--format", "mnn")
    Detector("bccd").export("mnn")
    assert str(arrived[0]["out"]) == str(arrived[1]["out"]) == "bccd.mnn"


def test_an_unknown_option_names_the_nearest(arrived):
    with pytest.raises(ConfigError, match="unknown export option 'precison': did you mean precision"):
        Detector("bccd").export("onnx", precison="fp16")
    assert arrived == []


def test_help_names_every_format_and_engine():
    for command, option, names in (
        (export, "format", [kind.name for kind in export_formats()]),
        (benchmark, "engine", [kind.name for kind in engine_kinds()]),
        (fit, "engines", [kind.name for kind in engine_kinds()]),
    ):
        text = inspect.signature(command).parameters[option].default.help
        assert [name for name in names if name not in text] == []


def test_an_exported_file_is_called_that(arrived, tmp_path):
    file = resolve_weights("bccd")
    with pytest.raises(ConfigError, match=r"bccd\.onnx is exported already: give the \.safetensors checkpoint"):
        exporter.export_detector(str(file))


@pytest.mark.parametrize(("name", "format"), [("engine", "tensorrt"), (".PTE", "executorch"), ("tflite", "litert")])
def test_a_file_s_ending_is_told_the_format_s_name(name, format):
    from ghostyolo.export.formats import find_format

    with pytest.raises(ConfigError, match=f"are of the format {format}"):
        find_format(name)


def test_auto_is_the_best_confidence_of_all_classes(arrived, monkeypatch):
    from ghostyolo.metadata import BestConfidence
    from ghostyolo.models.weights import load_checkpoint

    with pytest.raises(ConfigError, match="hold no best confidence"):
        exporter.export_detector("bccd", nms={"confidence": "auto"}, output="nms")
    model, metadata = load_checkpoint(resolve_weights("bccd", suffixes=(".safetensors",)))
    known = BestConfidence(overall=0.31, per_class={"RBC": 0.4})
    exporter.export_detector(
        (model, metadata.model_copy(update={"best_confidence": known})), nms={"confidence": "auto"}, output="nms"
    )
    assert (arrived[0]["options"].nms.confidence, arrived[0]["options"].nms.class_confidence) == (0.31, {})

"""A model in a process of its own: its answers, its errors, its end."""

from __future__ import annotations

import pytest

from ghostyolo.benchmark.worker import Task, check_canvas
from ghostyolo.benchmark.worker_process import BenchmarkError, Process
from ghostyolo.errors import ConfigError, SourceError, WeightsError
from ghostyolo.metadata import ExportInfo
from tests.runtime.colour_model import MODEL_PATH, metadata


def test_a_model_is_described_timed_and_weighed():
    with Process(Task(str(MODEL_PATH), batch=2)) as process:
        assert (process.engine, process.imgsz, process.metadata.model) == ("onnxruntime", 128, "colours")
        calls, joules = process.calls(3)
        assert len(calls) == 3
        assert all(min(call.preprocess, call.inference, call.postprocess) > 0 for call in calls)
        assert joules is None or joules >= 0
        assert process.energy_source
        memory = process.peak_memory_mb()
        # ONNX Runtime itself is opened after the count starts: some megabytes, far from a gigabyte.
        assert memory is None or 1 < memory < 1000


@pytest.mark.parametrize(
    ("task", "kind", "words"),
    [
        (Task("absent.onnx"), WeightsError, "does not exist"),
        (Task(str(MODEL_PATH), imgsz=100), ConfigError, "multiple of 32"),
        (Task(str(MODEL_PATH), device="tpu"), ConfigError, "unknown device"),
        (Task(str(MODEL_PATH), images="absent.jpg"), SourceError, "absent.jpg"),
        (Task(str(MODEL_PATH), layout="yolox"), ConfigError, "leave out the layout"),
    ],
    ids=["weights", "size", "device", "pictures", "layout"],
)
def test_its_errors_come_out_as_they_are(task, kind, words):
    with pytest.raises(kind, match=words), Process(task) as process:
        process.calls(1)


def test_a_process_that_ends_is_one_line_with_the_model_s_name():
    with Process(Task(str(MODEL_PATH))) as process:
        process._process.kill()
        process._process.wait()
        with pytest.raises(BenchmarkError, match=r"colour_model.onnx cannot be measured: its process ended"):
            process.calls(1)


def test_a_file_of_one_size_or_batch_is_not_measured_at_another():
    fixed = metadata(export=ExportInfo(format="onnx", batch=1, height=320, width=320))
    check_canvas(fixed, 320, 1, "x.onnx")
    check_canvas(fixed, None, 1, "x.onnx")
    with pytest.raises(ConfigError, match=r"x.onnx takes pictures of 320 x 320 pixels only: use --imgsz 320"):
        check_canvas(fixed, 416, 1, "x.onnx")
    with pytest.raises(ConfigError, match=r"1 pictures in a call, not 4: use --batch 1"):
        check_canvas(fixed, 320, 4, "x.onnx")
    check_canvas(metadata(), 416, 4, "any.onnx")

"""Networks and maps timed side by side in one process, by the package's own ``benchmark.interleave``.

``ghostyolo benchmark`` times whole detectors, each in a process of its own; here the network alone runs, or a part of
it, and engines read and answer in place.
"""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ghostyolo.benchmark.build import Builder
from ghostyolo.benchmark.candidates import Candidate
from ghostyolo.benchmark.interleave import interleave, paired_ratio
from ghostyolo.runtime.timing import Call as Steps

Call = Callable[[], object]


def write_onnx(network: Any, path: Path, imgsz: int, channels: int = 3) -> Path:
    """Write a network at one static size, batch 1, by torch's older exporter.

    Only the graph's speed is of interest, and it takes seconds instead of a minute.
    """
    import torch

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        example = torch.zeros(1, channels, imgsz, imgsz)
        torch.onnx.export(network, (example,), str(path), dynamo=False, opset_version=18, input_names=["images"])
    return path


def exported(builder: Builder, name: str, model: str, engine: str, imgsz: int) -> Path:
    """The file that ``ghostyolo export`` writes of a network for an engine: each has the form that it runs fastest."""
    path = builder.path(Candidate(name, "network", model, engine, imgsz))
    return next(path.glob("*.xml")) if engine == "openvino" else path


def open_file(engine: str, path: Path, image: Any, threads: int = 1) -> Call:
    """A call of a file on one picture or map (1, C, H, W), in float32, by ``"onnxruntime"`` or ``"openvino"``.

    OpenVINO reads ONNX files beside its own.

    OpenVINO's Python copies input and outputs unless told not to, 1 to 2 ms at 640 px whatever the network does; ONNX
    Runtime copies neither. Here both read and answer in place, so that the network alone is timed.
    """
    if engine == "openvino":
        import openvino

        options = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
        return lambda: request.infer({0: image}, share_inputs=True, share_outputs=True)
    import onnxruntime

    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = threads
    session_options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), session_options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feed)


def noise(imgsz: int, channels: int = 3) -> Any:
    """A picture (1, channels, imgsz, imgsz) of noise, float32 in 0..1."""
    return np.random.default_rng(0).random((1, channels, imgsz, imgsz), dtype=np.float32)


class _Runner:
    """A call, as ``interleave`` runs it: there is nothing before and after the network."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def calls(self, count: int) -> tuple[list[Steps], None]:
        """Run so many calls; return the times of each."""
        steps = []
        for _ in range(count):
            start = time.perf_counter()
            self._call()
            steps.append(Steps(0.0, (time.perf_counter() - start) * 1000, 0.0))
        return steps, None


def take_turns(calls: Mapping[str, Call], runs: int) -> dict[str, list[float]]:
    """Milliseconds of each call, ``runs`` times, those of one round at the same positions."""
    measured = interleave([_Runner(call) for call in calls.values()], runs, warmup=0)
    return {name: [step.inference for step in one.calls] for name, one in zip(calls, measured, strict=True)}


def median_ratio(times: Mapping[str, list[float]], name: str, reference: str) -> float:
    """Median of one network's time to the reference's at the same position."""
    return paired_ratio([[value] for value in times[name]], [[value] for value in times[reference]])

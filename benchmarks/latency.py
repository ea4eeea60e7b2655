"""Time networks side by side: one process, interleaved rounds, medians of paired ratios."""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ghostyolo.benchmark.build import Builder
from ghostyolo.benchmark.candidates import Candidate

Call = Callable[[], object]


def session_of(network: Any, imgsz: int, threads: int) -> Any:
    """An ONNX Runtime session of a folded network (a torch module), see :func:`write_onnx`; all optimisations on."""
    with tempfile.TemporaryDirectory() as folder:
        return _session(write_onnx(network, Path(folder) / "network.onnx", imgsz), threads)


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
    session = _session(path, threads)
    feed = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feed)


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def noise(imgsz: int, channels: int = 3) -> Any:
    """A picture (1, channels, imgsz, imgsz) of noise, float32 in 0..1."""
    return np.random.default_rng(0).random((1, channels, imgsz, imgsz), dtype=np.float32)


def interleaved(sessions: Mapping[str, Any], imgsz: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each ONNX Runtime session in each round, see :func:`take_turns`."""
    image = noise(imgsz)

    def call(session: Any) -> Call:
        return lambda: session.run(None, {"images": image})

    return take_turns({name: call(session) for name, session in sessions.items()}, rounds)


def take_turns(calls: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call in each round.

    In its turn a call is made twice and the second one counts: a device runs one network over and over, with that
    network's weights and maps in its caches, which the others here have just displaced.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1000)
    return times


def median_ratio(times: Mapping[str, list[float]], name: str, reference: str) -> float:
    """Median over the rounds of one network's time to the reference's in the same round."""
    return statistics.median(mine / theirs for mine, theirs in zip(times[name], times[reference], strict=True))

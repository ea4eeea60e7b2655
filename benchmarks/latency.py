"""Time folded networks side by side in ONNX Runtime: one process, interleaved rounds, medians of paired ratios."""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def session_of(network: Any, imgsz: int, threads: int) -> Any:
    """An ONNX Runtime session of a folded network (a torch module) at one static size, batch 1, all optimisations on.

    Written by torch's older exporter: only the graph's speed is of interest, and it takes seconds instead of a minute.
    """
    import onnxruntime
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            example = torch.zeros(1, 3, imgsz, imgsz)
            torch.onnx.export(network, (example,), str(path), dynamo=False, opset_version=17, input_names=["images"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def interleaved(sessions: Mapping[str, Any], imgsz: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each session in each round; every round runs each session once, after one warm-up."""
    image = np.random.default_rng(0).random((1, 3, imgsz, imgsz), dtype=np.float32)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for number in range(rounds + 1):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {"images": image})
            if number:
                times[name].append((time.perf_counter() - start) * 1000)
    return times


def median_ratio(times: Mapping[str, list[float]], name: str, reference: str) -> float:
    """Median over the rounds of one network's time to the reference's in the same round."""
    return statistics.median(mine / theirs for mine, theirs in zip(times[name], times[reference], strict=True))

"""Runs folders ``x_openvino`` (``model.xml``, ``model.bin``) on OpenVINO, without torch.

The metadata is in the model's ``rt_info`` under ``ghostyolo``. Arithmetic is float32 unless the file says otherwise:
by itself OpenVINO computes in bfloat16 on CPUs that have it, which moves boxes by pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ghostyolo.errors import WeightsError
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.runtime.engine import require_cpu
from ghostyolo.runtime.exported import Array, ExportedEngine
from ghostyolo.runtime.openvino_cpu import load_openvino


class OpenVinoEngine(ExportedEngine):
    """A network in OpenVINO.

    Args:
        path: the ``.xml`` file.
        device: ``"cpu"``.
        threads: CPU threads inside one call; None: OpenVINO's choice.

    Raises:
        WeightsError: damaged, without its ``.bin``, or not written by ghostyolo.
        ConfigError: another device.
    """

    name = "openvino"

    def __init__(self, path: str | Path, device: str = "cpu", threads: int | None = None) -> None:
        openvino = load_openvino()
        self.path = Path(path)
        require_cpu(device, "OpenVINO")
        if not self.path.with_suffix(".bin").is_file():
            raise WeightsError(f"{path} has no {self.path.stem}.bin beside it, which holds its weights: copy both")
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        try:
            model = core.read_model(str(path))
            compiled = core.compile_model(model, "CPU", options)
        except Exception as error:  # OpenVINO raises RuntimeError for all that can be wrong with a file
            reason = str(error).strip().splitlines()[-1][:200]
            raise WeightsError(
                f"{path} cannot be opened: truncated, damaged or not an OpenVINO model; export it again ({reason})"
            ) from error
        text = str(model.get_rt_info([METADATA_KEY]).astype(str)) if model.has_rt_info([METADATA_KEY]) else None
        self.metadata = ModelMetadata.from_json(text, str(path))
        self._outputs = [compiled.output(name) for name in self.export.outputs]
        self._request = compiled.create_infer_request()

    def run(self, images: Array) -> Sequence[npt.NDArray[Any]]:
        results = self._request.infer({"images": images}, share_inputs=True)
        return [results[output] for output in self._outputs]

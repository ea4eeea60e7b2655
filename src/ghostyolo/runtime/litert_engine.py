"""Runs ``.tflite`` files on LiteRT (XNNPACK on the CPU), without torch.

Metadata: :mod:`ghostyolo.runtime.appended`. Outputs are found by their names in the file's signature, ``output_0`` and
on: the order in which the interpreter lists them is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ghostyolo.errors import WeightsError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.runtime.appended import read_appended
from ghostyolo.runtime.engine import require_cpu
from ghostyolo.runtime.exported import Array, ExportedEngine
from ghostyolo.silence import silence


class LiteRtEngine(ExportedEngine):
    """A network in LiteRT.

    Args:
        path: a file that ``ghostyolo export`` wrote.
        device: ``"cpu"``.
        threads: CPU threads inside one call; None: LiteRT's choice.

    Raises:
        WeightsError: damaged, truncated, or not written by ghostyolo.
        ConfigError: another device.
    """

    name = "litert"

    def __init__(self, path: str | Path, device: str = "cpu", threads: int | None = None) -> None:
        self.path = Path(path)
        require_cpu(device, "LiteRT")
        try:
            with silence():
                from ai_edge_litert.interpreter import Interpreter

                self._interpreter = Interpreter(str(path), num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise WeightsError(
                f"{path} cannot be opened: truncated, damaged or not a TFLite file; export it again ({error})"
            ) from error
        self.metadata = ModelMetadata.from_json(read_appended(self.path), str(path))
        signatures = self._interpreter.get_signature_list()
        wanted = [f"output_{number}" for number in range(len(self.export.outputs))]
        if len(signatures) != 1 or set(wanted) != set(next(iter(signatures.values()))["outputs"]):
            raise WeightsError(f"{path} has other outputs than its metadata names: export it again")
        outputs = self._interpreter.get_signature_runner(next(iter(signatures))).get_output_details()
        self._outputs = [outputs[name]["index"] for name in wanted]
        self._input = self._interpreter.get_input_details()[0]["index"]

    def run(self, images: Array) -> Sequence[npt.NDArray[Any]]:
        self._interpreter.set_tensor(self._input, images)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output) for output in self._outputs]

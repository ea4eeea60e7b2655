"""Runs ``.mnn`` files on MNN, without torch.

The metadata is the model's ``bizCode``. Arithmetic is float32 whatever the weights are stored in, but for the
convolutions of an int8 file: MNN's low precision would move boxes by pixels on the devices that have it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import WeightsError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.runtime.engine import require_cpu
from ghostyolo.runtime.exported import Array, ExportedEngine
from ghostyolo.silence import silence

MOST_THREADS = 4


class MnnEngine(ExportedEngine):
    """A network in MNN.

    Args:
        path: the ``.mnn`` file.
        device: ``"cpu"``.
        threads: CPU threads inside one call; None: one for each core, four at most, which is MNN's own choice.

    Raises:
        WeightsError: truncated, damaged or not written by ghostyolo.
        ConfigError: another device.
    """

    name = "mnn"

    def __init__(self, path: str | Path, device: str = "cpu", threads: int | None = None) -> None:
        self.path = Path(path)
        require_cpu(device, "MNN")
        with silence():  # MNN greets on standard output
            import MNN

            self._expr = MNN.expr
            information = self._load(MNN, [], [], 1).get_info()
        text = information.get("bizCode") or ""
        self.metadata = ModelMetadata.from_json(text if text.startswith("{") else None, str(path))
        missing = {"images", *self.export.outputs} - {*information["inputNames"], *information["outputNames"]}
        if missing:
            raise WeightsError(f"{path} has no input or output named {', '.join(sorted(missing))}: export it again")
        with silence():
            self._module = self._load(
                MNN, ["images"], self.export.outputs, threads or min(MOST_THREADS, os.cpu_count() or 1)
            )

    def _load(self, library: Any, inputs: list[str], outputs: list[str], threads: int) -> Any:
        try:
            return library.nn.load_module_from_file(
                str(self.path),
                inputs,
                outputs,
                backend=library.expr.Backend.CPU,
                precision_mode=library.expr.PrecisionMode.High,
                thread_num=threads,
            )
        except Exception as error:  # Python's SystemError around a plain Exception, for all that can be wrong
            raise WeightsError(
                f"{self.path} cannot be opened: truncated, damaged or not an MNN model; export it again"
            ) from error

    def run(self, images: Array) -> Sequence[npt.NDArray[Any]]:
        layout = self._expr.NCHW
        given = self._expr.const(np.ascontiguousarray(images), list(images.shape), layout)
        outputs = self._module.forward([given])
        # read() is a view of memory that the next call overwrites.
        return [np.array(self._expr.convert(output, layout).read()) for output in outputs]

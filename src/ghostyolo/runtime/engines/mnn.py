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
from ghostyolo.extras import Extra
from ghostyolo.metadata import ModelMetadata
from ghostyolo.runtime.engines import EngineKind, EngineSetup
from ghostyolo.runtime.engines.exported import Array, ExportedEngine
from ghostyolo.silence import silence

EXTRA = Extra("mnn", ("MNN",))
MOST_THREADS = 4
# Option -> MNN's enumeration, and what is taken where nothing is given.
_MODES = {
    "precision": ("PrecisionMode", "high"),
    "memory": ("MemoryMode", "normal"),
    "power": ("PowerMode", "normal"),
}


class MnnEngine(ExportedEngine):
    """A network in MNN.

    Args:
        path: the ``.mnn`` file.
        setup: on the CPU; threads None: one for each core, four at most, which is MNN's own choice. Options:
            ``precision``, ``memory`` and ``power``, each low, normal or high.

    Raises:
        WeightsError: truncated, damaged or not written by ghostyolo.
        ConfigError: another device, or an option that MNN does not know.
    """

    name = "mnn"

    def __init__(self, path: Path, setup: EngineSetup) -> None:
        self.path = path
        setup.require_cpu("MNN")
        setup.check_options("MNN", _MODES)
        with silence():  # MNN greets on standard output
            import MNN

            self._expr = MNN.expr
            modes = {
                f"{name}_mode": setup.choice(name, _members(getattr(MNN.expr, kind)), default)
                for name, (kind, default) in _MODES.items()
            }
            information = self._load(MNN, [], [], 1, modes).get_info()
        text = information.get("bizCode") or ""
        self.metadata = ModelMetadata.from_json(text if text.startswith("{") else None, str(path))
        missing = {"images", *self.export.outputs} - {*information["inputNames"], *information["outputNames"]}
        if missing:
            raise WeightsError(f"{path} has no input or output named {', '.join(sorted(missing))}: export it again")
        with silence():
            self._module = self._load(
                MNN, ["images"], self.export.outputs, setup.threads or min(MOST_THREADS, os.cpu_count() or 1), modes
            )

    def _load(self, library: Any, inputs: list[str], outputs: list[str], threads: int, modes: dict[str, Any]) -> Any:
        try:
            return library.nn.load_module_from_file(
                str(self.path),
                inputs,
                outputs,
                backend=library.expr.Backend.CPU,
                thread_num=threads,
                **modes,
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


def _members(enumeration: Any) -> dict[str, Any]:
    return {word.lower(): getattr(enumeration, word) for word in ("Low", "Normal", "High")}


KIND = EngineKind("mnn", ".mnn", MnnEngine, packages=("MNN",), extra=EXTRA)

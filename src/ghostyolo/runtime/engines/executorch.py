"""Runs ``.pte`` files on ExecuTorch, whose Python package brings torch.

ExecuTorch has one thread pool for the process, and a loaded network keeps pointing into it: the number of threads can
be set while no network is loaded, and at no other time.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.extras import Extra
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.runtime.engines import EngineKind, EngineSetup
from ghostyolo.runtime.engines.exported import Array, ExportedEngine
from ghostyolo.silence import silence

EXTRA = Extra("executorch", ("executorch",))
_loaded: weakref.WeakSet[ExecuTorchEngine] = weakref.WeakSet()


class ExecuTorchEngine(ExportedEngine):
    """A network in ExecuTorch.

    Args:
        path: a file that ``ghostyolo export`` wrote.
        setup: on the CPU; threads are of the whole process, None: as they are.

    Raises:
        WeightsError: damaged, truncated, or not written by ghostyolo.
        ConfigError: another device, or another number of threads than a network that is loaded in this process.
    """

    name = "executorch"

    def __init__(self, path: Path, setup: EngineSetup) -> None:
        self.path = path
        setup.require_cpu("ExecuTorch")
        setup.check_options("ExecuTorch", ())
        with silence():
            import torch
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime

            if setup.threads is not None:
                _set_threads(portable_lib, setup.threads)
            _loaded.add(self)
            try:
                # The program must outlive its methods.
                self._program = Runtime.get().load_program(self.path)
                header = (
                    self._program.load_method(METADATA_KEY).execute([])[0]
                    if METADATA_KEY in self._program.method_names
                    else None
                )
                self.metadata = ModelMetadata.from_json(header, str(path))
                self._method = self._program.load_method("forward")
            except RuntimeError as error:
                raise WeightsError(
                    f"{path} cannot be opened: truncated, damaged or not an ExecuTorch program; "
                    f"export it again ({error})"
                ) from error
        self._torch = torch

    def run(self, images: Array) -> Sequence[npt.NDArray[Any]]:
        # The library writes to Python's streams in each call, and fails where there is none.
        absent = any(stream is None or stream.closed for stream in (sys.stdout, sys.stderr))
        with silence() if absent else contextlib.nullcontext():
            return [output.numpy() for output in self._method.execute([self._torch.from_numpy(images)])]


def _set_threads(library: Any, threads: int) -> None:
    present = library._threadpool_get_thread_count()
    if present == threads:
        return
    if _loaded:
        raise ConfigError(
            f"ExecuTorch has {present} threads in this process and a network that uses them: "
            f"open it with threads={present}, or in a process of its own"
        )
    library._unsafe_reset_threadpool(threads)


KIND = EngineKind("executorch", ".pte", ExecuTorchEngine, packages=("executorch",), extra=EXTRA)

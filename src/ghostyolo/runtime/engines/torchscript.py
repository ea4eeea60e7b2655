"""Runs ``.torchscript`` files with torch, on the CPU.

A TorchScript file is a program. Its data are read without Python's pickle, but its code is compiled and run by torch,
whose operators can read and write files; torch's own security policy says to treat it "as locally executable code"
and there is no safe mode (pytorch/pytorch SECURITY.md, #143403). So open only files of people you trust; ONNX is the
format for the others. Our metadata is looked for in the archive first, and a file without it is not loaded at all,
which keeps mistakes out, not malice.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ghostyolo.errors import WeightsError
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.runtime.engines import EngineKind, EngineSetup
from ghostyolo.runtime.engines.exported import Array, ExportedEngine
from ghostyolo.silence import silence


class TorchScriptEngine(ExportedEngine):
    """A network in TorchScript's interpreter.

    Args:
        path: a file that ``ghostyolo export`` wrote.
        setup: on the CPU; threads are torch's, of the whole process, None: as they are.

    Raises:
        WeightsError: damaged, truncated, or not written by ghostyolo.
        ConfigError: another device.
    """

    name = "torchscript"

    def __init__(self, path: Path, setup: EngineSetup) -> None:
        import torch

        self.path = path
        setup.require_cpu("TorchScript")
        setup.check_options("TorchScript", ())
        self.metadata = ModelMetadata.from_json(_metadata(self.path), str(path))
        if setup.threads is not None:
            torch.set_num_threads(setup.threads)
        try:
            with silence():
                self._module = torch.jit.load(str(path), map_location="cpu").eval()
        except Exception as error:  # torch raises RuntimeError, and others for damaged archives
            raise _damaged(path, str(error).strip().splitlines()[0][:200]) from error
        self._torch = torch

    def run(self, images: Array) -> Sequence[npt.NDArray[Any]]:
        with self._torch.no_grad():
            return [output.numpy() for output in self._module(self._torch.from_numpy(images))]


def _metadata(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/extra/{METADATA_KEY}")]
            return archive.read(names[0]).decode() if names else None
    except (zipfile.BadZipFile, UnicodeDecodeError, EOFError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{path} cannot be opened: truncated, damaged or not a TorchScript file; export it again ({reason})"
    )


KIND = EngineKind("torchscript", ".torchscript", TorchScriptEngine, packages=("torch",), extra="train", program=True)

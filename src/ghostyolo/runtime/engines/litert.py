"""Runs ``.tflite`` files on LiteRT (XNNPACK on the CPU), without torch.

Metadata are in a zip archive at the end of the file, whose readers look at its beginning only; TFLite's own metadata
carries label files in the same way (https://ai.google.dev/edge/litert/models/metadata), and any unzip program shows
them: ``unzip -p x.tflite ghostyolo.json``. Outputs are found by their names in the file's signature, ``output_0`` and
on: the order in which the interpreter lists them is its own.
"""

from __future__ import annotations

import zipfile
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

EXTRA = Extra("litert", ("ai_edge_litert",))
MEMBER = f"{METADATA_KEY}.json"
_DELEGATE = "delegate"


class LiteRtEngine(ExportedEngine):
    """A network in LiteRT.

    Args:
        path: a file that ``ghostyolo export`` wrote.
        setup: on the CPU; threads None: LiteRT's choice. Options: ``delegate``, a delegate's library, and its own
            options as ``delegate.KEY``.

    Raises:
        WeightsError: damaged, truncated, or not written by ghostyolo.
        ConfigError: another device, or a delegate that cannot be loaded.
    """

    name = "litert"

    def __init__(self, path: Path, setup: EngineSetup) -> None:
        self.path = path
        setup.require_cpu("LiteRT")
        try:
            with silence():
                from ai_edge_litert import interpreter

                self._interpreter = interpreter.Interpreter(
                    str(path), num_threads=setup.threads, experimental_delegates=_delegates(setup, interpreter)
                )
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


def _delegates(setup: EngineSetup, library: Any) -> list[Any]:
    own = {name.partition(".")[2]: value for name, value in setup.options.items() if name.startswith(f"{_DELEGATE}.")}
    EngineSetup(options={name: value for name, value in setup.options.items() if "." not in name}).check_options(
        "LiteRT", (_DELEGATE,)
    )
    place = setup.options.get(_DELEGATE)
    if place is None:
        if setup.options:
            raise ConfigError("options of a delegate need its library: add --engine-option delegate=FILE")
        return []
    try:
        return [library.load_delegate(str(place), own)]
    except (OSError, ValueError) as error:
        raise ConfigError(f"LiteRT cannot load the delegate {place}: {error}") from error


def append_metadata(path: Path, metadata: ModelMetadata) -> None:
    """Append the archive with the metadata to a file that has none."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(MEMBER), metadata.to_json())


def read_appended(path: Path) -> str | None:
    """The metadata's JSON; None: the file has no archive, or one without it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(MEMBER).decode() if MEMBER in archive.namelist() else None
    except (zipfile.BadZipFile, UnicodeDecodeError, EOFError):
        return None


KIND = EngineKind("litert", ".tflite", LiteRtEngine, packages=("ai-edge-litert",), extra=EXTRA)

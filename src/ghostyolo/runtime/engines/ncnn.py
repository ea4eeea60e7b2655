"""Runs folders ``x_ncnn`` on ncnn's CPU kernels, without torch.

One picture a call. Arithmetic is float32, but for the convolutions of an int8 file: by itself ncnn computes in half
precision on CPUs that have it, which moves boxes by pixels.

The folder holds ``model.ncnn.param`` (graph), ``model.ncnn.bin`` (weights) and ``metadata.json``.

The text of a ``.param`` has no place for a comment and none for metadata, so that lies beside it, with the SHA-256 of
both files: ncnn ends the process on weights that are cut short, and computes with damaged ones as if nothing were.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.extras import Extra
from ghostyolo.files import sha256_of, write_json
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.runtime.engines import EngineKind, EngineSetup
from ghostyolo.runtime.engines.exported import Array, ExportedEngine
from ghostyolo.silence import silence

EXTRA = Extra("ncnn", ("ncnn",))
PARAM, BIN, DESCRIPTION = "model.ncnn.param", "model.ncnn.bin", "metadata.json"
_FILES = "files"


class NcnnEngine(ExportedEngine):
    """A network in ncnn.

    Args:
        path: the ``.param`` file, its weights and ``metadata.json`` beside it.
        setup: on the CPU; threads None: one for each physical core. Options: the attributes of ``ncnn.Option``, such as
            ``use_winograd_convolution``.

    Raises:
        WeightsError: truncated, damaged, not written by ghostyolo, or made for a newer ncnn.
        ConfigError: another device, or an option that ncnn does not know.
    """

    name = "ncnn"

    def __init__(self, path: Path, setup: EngineSetup) -> None:
        self.path = path
        setup.require_cpu("ncnn")
        self.metadata = read_description(self.path)
        with silence() as printed:
            import ncnn

            self._ncnn = ncnn
            self._net = open_net(ncnn, self.path, self.path.with_name(BIN), setup)
        if self._net is None:
            reason = printed[0][:200] if printed else "no reason given"
            raise WeightsError(f"{path} cannot be opened by this version of ncnn, pip install -U ncnn ({reason})")
        known = [*self._net.input_names(), *self._net.output_names()]
        self._outputs = [f"out{number}" for number in range(len(self.export.outputs))]
        missing = [name for name in ("in0", *self._outputs) if name not in known]
        if missing:
            raise WeightsError(f"{path} has no blob {', '.join(missing)}: export it again")

    def run(self, images: Array) -> Sequence[npt.NDArray[Any]]:
        extractor = self._net.create_extractor()
        # The Mat is a view: the array must live as long as the extractor.
        picture = np.ascontiguousarray(images[0])
        extractor.input("in0", self._ncnn.Mat(picture))
        outputs = []
        for name in self._outputs:
            status, blob = extractor.extract(name)
            if status != 0:
                raise WeightsError(f"{self.path}: ncnn could not compute {name} (status {status}): export it again")
            outputs.append(np.array(blob)[None])
        return outputs


def open_net(ncnn: Any, param: Path, weights: Path, setup: EngineSetup | None = None) -> Any:
    """Open a network of ncnn's in float32 on the CPU.

    The answer is None where it cannot be loaded, which ncnn then printed.

    Raises:
        ConfigError: an option that ncnn does not know.
    """
    setup = setup or EngineSetup()
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        if hasattr(net.opt, f"use_{option}"):  # some are newer than others
            setattr(net.opt, f"use_{option}", False)
    if setup.threads is not None:
        net.opt.num_threads = setup.threads
    setup.check_options("ncnn", [name for name in dir(net.opt) if not name.startswith("_")])
    for name, value in setup.options.items():
        try:
            setattr(net.opt, name, value)
        except (TypeError, AttributeError) as error:
            kind = type(getattr(net.opt, name)).__name__
            raise ConfigError(f"ncnn's option {name} cannot be {value!r}: its type is {kind}") from error
    if net.load_param(str(param)) != 0 or net.load_model(str(weights)) != 0:
        return None
    return net


def write_description(folder: Path, metadata: ModelMetadata) -> None:
    """Write ``metadata.json`` for the two files that lie in ``folder``."""
    sums = {name: sha256_of(folder / name) for name in (PARAM, BIN)}
    write_json(folder / DESCRIPTION, {METADATA_KEY: metadata.model_dump(mode="json"), _FILES: sums})


def read_description(param: Path) -> ModelMetadata:
    """Check the folder of a ``.param`` file and return its metadata.

    Raises:
        WeightsError: a file is missing, changed or truncated, or the folder was not written by ghostyolo.
    """
    folder = param.parent
    path = folder / DESCRIPTION
    if not path.is_file():
        raise WeightsError(f"{folder} was not written by ghostyolo, or not copied whole: it has no {DESCRIPTION}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        metadata, sums = description[METADATA_KEY], dict(description[_FILES])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is damaged or of another program: export it again") from error
    for name in (param.name, BIN):
        file = folder / name
        if not file.is_file():
            raise WeightsError(f"{folder} has no {name}: copy the whole folder")
        if sums.get(name) != sha256_of(file):
            raise WeightsError(
                f"{file} is not the file that was exported: truncated, damaged or replaced; export again"
            )
    return ModelMetadata.from_json(json.dumps(metadata), str(path))


KIND = EngineKind("ncnn", "_ncnn", NcnnEngine, packages=("ncnn",), extra=EXTRA, inner=".param")

"""Runs folders ``x_openvino`` (``model.xml``, ``model.bin``) on OpenVINO, without torch.

The metadata is in the model's ``rt_info`` under ``ghostyolo``. Arithmetic is float32 unless the file says otherwise:
by itself OpenVINO computes in bfloat16 on CPUs that have it, which moves boxes by pixels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy.typing as npt

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.extras import Extra
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.runtime.engines import EngineKind, EngineSetup
from ghostyolo.runtime.engines.exported import Array, ExportedEngine

EXTRA = Extra("openvino", ("openvino",))

# Both names set the most that OpenVINO's kernels may use; it reads them when the first network is compiled.
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_WITHOUT_AMX = "AVX512_CORE_FP16"
_CPU_INFO = Path("/proc/cpuinfo")


class OpenVinoEngine(ExportedEngine):
    """A network in OpenVINO.

    Args:
        path: the ``.xml`` file.
        setup: on the CPU; threads None: OpenVINO's choice. Options: the properties of its CPU plugin.

    Raises:
        WeightsError: damaged, without its ``.bin``, or not written by ghostyolo.
        ConfigError: another device, or a property that OpenVINO does not know.
    """

    name = "openvino"

    def __init__(self, path: Path, setup: EngineSetup) -> None:
        openvino = load_openvino()
        self.path = path
        setup.require_cpu("OpenVINO")
        if not self.path.with_suffix(".bin").is_file():
            raise WeightsError(f"{path} has no {self.path.stem}.bin beside it, which holds its weights: copy both")
        core = openvino.Core()
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if setup.threads is not None:
            options["INFERENCE_NUM_THREADS"] = setup.threads
        _set_options(core, setup)
        options.update(setup.options)
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


def load_openvino() -> ModuleType:
    """Import ``openvino``; call it before anything else that imports it, such as ``nncf``.

    On Intel CPUs with AMX, INT8 networks of flexible size end the process with a segmentation fault on small pictures
    (openvino issue 37577, seen with 2026.1 to 2026.4). So AMX is left out, unless the environment has a limit already.
    float32 does not use it.
    """
    if _has_amx() and not any(name in os.environ for name in _LIMITS):
        os.environ[_LIMITS[0]] = _WITHOUT_AMX
    import openvino

    module: ModuleType = openvino
    return module


def _has_amx() -> bool:
    try:
        return "amx_int8" in _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no such file outside Linux
        return False


def _set_options(core: Any, setup: EngineSetup) -> None:
    """Try the given properties before a network is read, so that an error is of them."""
    properties = core.get_property("CPU", "SUPPORTED_PROPERTIES")
    setup.check_options("OpenVINO", [name for name, access in properties.items() if access == "RW"])
    for name, value in setup.options.items():
        try:
            core.set_property("CPU", {name: value})
        except Exception as error:  # RuntimeError, and TypeError for a value of another type
            reason = str(error).strip().splitlines()[-1][:200]
            raise ConfigError(f"OpenVINO's property {name} cannot be {value!r} ({reason})") from error


KIND = EngineKind("openvino", "_openvino", OpenVinoEngine, packages=("openvino",), extra=EXTRA, inner=".xml")

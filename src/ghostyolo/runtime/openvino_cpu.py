"""The ``openvino`` package, kept off instructions of the CPU that it crashes on."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

# Both names set the most that OpenVINO's kernels may use; it reads them when the first network is compiled.
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_WITHOUT_AMX = "AVX512_CORE_FP16"
_CPU_INFO = Path("/proc/cpuinfo")


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

"""Energy counters: the whole CPU package (RAPL, read by zeus) or the whole GPU (NVML, read by nvidia-ml-py).

Counters are of the device, not of a process: what else runs, and what the device takes when idle, counts too.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from ghostyolo.extras import available
from ghostyolo.runtime.engines import parse_device

Counter = Callable[[], float]  # joules since some moment

_RAPL_FOLDERS = (Path("/sys/class/powercap/intel-rapl"), Path("/zeus_sys/class/powercap/intel-rapl"))
_INSTALL = 'pip install "ghostyolo[energy]"'


def energy_counter(device: str) -> tuple[Counter | None, str]:
    """A counter of the device's energy and what it counts, or None and the reason why there is none."""
    kind, number = parse_device(device)
    return _gpu(number) if kind == "cuda" else _cpu()


def _cpu() -> tuple[Counter | None, str]:
    if not any(folder.is_dir() for folder in _RAPL_FOLDERS):
        return None, "this machine shows no RAPL counters"
    if not available("energy"):
        return None, f"RAPL is read through zeus: {_INSTALL}"
    try:
        packages = importlib.import_module("zeus.device.cpu").get_cpus()
        indices = range(len(packages.cpus))

        def joules() -> float:
            return float(sum(packages.get_total_energy_consumption(index).cpu_mj for index in indices)) / 1000

        joules()
    except Exception as error:  # zeus raises its own kinds, by version; measuring goes on without
        return None, f"RAPL cannot be read ({_first_line(error)}); it usually takes root"
    return joules, "CPU package (RAPL)"


def _gpu(number: int) -> tuple[Counter | None, str]:
    if not available("energy"):
        return None, f"NVML is read through nvidia-ml-py: {_INSTALL}"
    try:
        pynvml = importlib.import_module("pynvml")
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)

        def joules() -> float:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000

        joules()
    except Exception as error:  # NVML errors of a missing driver, an old card
        return None, f"this GPU tells no energy ({_first_line(error)})"
    return joules, "GPU (NVML)"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

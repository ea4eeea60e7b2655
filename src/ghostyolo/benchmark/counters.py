"""What a process holds in memory, and what the device takes in energy.

Memory: megabytes (1e6 bytes) of resident memory. Energy: the whole CPU package (RAPL, read by zeus) or the whole GPU
(NVML, read by nvidia-ml-py). Energy counters are of the device, not of a process: what else runs, and what the device
takes when idle, counts too.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable
from pathlib import Path

from ghostyolo.extras import available, install_command
from ghostyolo.runtime.engines import parse_device

Counter = Callable[[], float]  # joules since some moment

_RAPL_FOLDERS = (Path("/sys/class/powercap/intel-rapl"), Path("/zeus_sys/class/powercap/intel-rapl"))
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"


def energy_counter(device: str) -> tuple[Counter | None, str]:
    """Return a counter of the device's energy and what it counts.

    Where there is none, return None and the reason.
    """
    kind, number = parse_device(device)
    return _gpu(number) if kind == "cuda" else _cpu()


def _cpu() -> tuple[Counter | None, str]:
    if not any(folder.is_dir() for folder in _RAPL_FOLDERS):
        return None, "this machine shows no RAPL counters"
    if not available("energy"):
        return None, f"RAPL is read through zeus: {install_command('energy')}"
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
        return None, f"NVML is read through nvidia-ml-py: {install_command('energy')}"
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


class PeakMemory:
    """Memory above what the process held when this was made.

    Linux tells it exactly. On macOS the peak cannot be reset, so that what came before hides a smaller one; elsewhere
    it is not known.
    """

    def __init__(self) -> None:
        with contextlib.suppress(OSError):  # not Linux, or not allowed: the peak since the process began counts
            _CLEAR.write_text(_FORGET_PEAK)
        self._before = _status_mb("VmRSS")
        if self._before is None:
            self._before = _peak_mb()

    def megabytes(self) -> float | None:
        """The most since then; None where the system does not tell."""
        peak = _peak_mb()
        return None if peak is None or self._before is None else max(0.0, peak - self._before)


def _peak_mb() -> float | None:
    # Not ru_maxrss on Linux: a child inherits its parent's there.
    linux = _status_mb("VmHWM")
    if linux is not None:
        return linux
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def _status_mb(key: str) -> float | None:
    try:
        match = re.search(rf"^{key}:\s*(\d+) kB$", _STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 / 1e6 if match else None

"""Memory and energy counters, and what they say where there are none."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from ghostyolo.benchmark import counters
from ghostyolo.benchmark.machine import describe_machine, machine_line, usable_cores
from ghostyolo.extras import install_command

_HELD = """
import numpy as np
from ghostyolo.benchmark.counters import PeakMemory

before = np.ones(20_000_000)  # 160 MB that are gone again
del before
memory = PeakMemory()
first = memory.megabytes()
during = np.ones(10_000_000)
del during
print(first, memory.megabytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process forget its peak")
def test_peak_memory_is_what_was_held_since_not_before():
    # In a process of its own: a large one may give pages back to the system while it is measured.
    done = subprocess.run([sys.executable, "-c", _HELD], capture_output=True, text=True, check=True)
    first, peak = map(float, done.stdout.split())
    assert first < 40
    assert 70 < peak < 120


def test_the_cpu_s_energy_is_summed_over_packages_in_joules(monkeypatch, tmp_path):
    class Packages:
        cpus = (0, 1)

        def get_total_energy_consumption(self, index):
            return SimpleNamespace(cpu_mj=1500.0 * (index + 1), dram_mj=None)

    module = ModuleType("zeus.device.cpu")
    module.get_cpus = Packages
    monkeypatch.setattr(counters, "_RAPL_FOLDERS", (tmp_path,))
    monkeypatch.setattr(counters, "available", lambda extra: True)
    monkeypatch.setattr(counters.importlib, "import_module", lambda name: module)
    joules, source = counters.energy_counter("cpu")
    assert joules() == 4.5
    assert source == "CPU package (RAPL)"


def test_without_a_counter_there_is_a_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(counters, "_RAPL_FOLDERS", (tmp_path / "absent",))
    assert counters.energy_counter("cpu") == (None, "this machine shows no RAPL counters")
    monkeypatch.setattr(counters, "_RAPL_FOLDERS", (tmp_path,))
    monkeypatch.setattr(counters, "available", lambda extra: False)
    for device in ("cpu", "cuda:1"):
        counter, reason = counters.energy_counter(device)
        assert counter is None
        assert install_command("energy") in reason


def test_a_counter_that_fails_is_a_reason_and_not_an_error(monkeypatch, tmp_path):
    def refuse():
        raise PermissionError("energy_uj: permission denied\nmore")

    monkeypatch.setattr(counters, "_RAPL_FOLDERS", (tmp_path,))
    monkeypatch.setattr(counters, "available", lambda extra: True)
    monkeypatch.setattr(counters.importlib, "import_module", lambda name: SimpleNamespace(get_cpus=refuse))
    counter, reason = counters.energy_counter("cpu")
    assert counter is None
    assert "permission denied)" in reason


def test_the_gpu_s_energy_is_in_joules(monkeypatch):
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 2500 if handle == 1 else 0,
    )
    monkeypatch.setattr(counters, "available", lambda extra: True)
    monkeypatch.setattr(counters.importlib, "import_module", lambda name: nvml)
    joules, source = counters.energy_counter("cuda:1")
    assert joules() == 2.5
    assert source == "GPU (NVML)"


def test_the_machine_in_words():
    machine = describe_machine("numpy", "no-such-package")
    assert machine["packages"]["numpy"] == np.__version__
    assert machine["packages"]["no-such-package"] == "absent"
    line = machine_line(machine)
    assert machine["cpu"] in line
    assert f"numpy {np.__version__}" in line
    assert "\n" not in line
    assert usable_cores() >= 1

"""How many CPU threads train, and how they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ghostyolo.train import threads
from ghostyolo.train.threads import choose_threads


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many cores under a load."""

    def make(cores: int, load: float) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(threads, "usable_cores", lambda: cores)
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)

    return make


@pytest.mark.parametrize(
    ("cores", "load", "count"), [(2, 0.1, 2), (2, 1.0, 1), (2, 5.0, 1), (8, 2.4, 6), (1, 0.0, 1), (4, 0.6, 3)]
)
def test_the_cores_that_nothing_else_uses_are_taken(machine, cores, load, count):
    machine(cores, load)
    chosen = choose_threads(None)
    assert chosen.count == count
    assert (f"keep {load:.1f} of them busy" in str(chosen)) == (count < cores)


def test_what_the_user_says_counts(machine, monkeypatch):
    machine(2, 5.0)
    assert str(choose_threads(8)) == "8 threads"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert str(choose_threads(None)) == "2 threads (by OMP_NUM_THREADS)"


@pytest.mark.parametrize(("before", "after"), [(None, "passive"), ("active", "active")])
def test_waiting_is_settled_before_torch_is_there(before, after):
    code = (
        "import os, sys\n"
        "from ghostyolo.openmp import wait_passively\n"
        "print('torch' in sys.modules, wait_passively(), os.environ['OMP_WAIT_POLICY'])\n"
        "sys.modules['torch'] = None\n"
        "print(wait_passively())\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if before is not None:
        environment["OMP_WAIT_POLICY"] = before
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", after, "False"]

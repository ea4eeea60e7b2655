"""Describes the machine in words.

It names processor, cores, memory, and the versions that a figure depends on.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from ghostyolo.runtime.engines import engine_kinds


def describe_machine(*packages: str) -> dict[str, Any]:
    """Processor, cores, memory, system, Python and the versions of ghostyolo and the packages."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) or "absent" for name in ("ghostyolo", *packages)},
    }


def version(package: str) -> str | None:
    """The installed version of a package, None where it is absent."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def engine_packages(engines: set[str]) -> list[str]:
    """The installed packages behind engines, by name."""
    names = {name for kind in engine_kinds() if kind.name in engines for name in kind.packages if version(name)}
    return sorted(names)


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_line(machine: dict[str, Any]) -> str:
    """The description in one line."""
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    memory = f", {machine['memory_gib']:g} GiB" if machine["memory_gib"] else ""
    system = f"{machine['system']}, Python {machine['python']}"
    return f"{machine['cpu']}, {machine['cores']} cores{memory}, {system}; {packages}"


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

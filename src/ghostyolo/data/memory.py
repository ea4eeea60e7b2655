"""How much memory this process has, and may still take. No torch."""

from __future__ import annotations

from pathlib import Path


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that can still be taken; None: it is unknown.

    More than these the system or the container's limit (cgroup) stops.

    Args:
        root: where ``proc`` and ``sys`` lie.
    """
    limits = [
        _meminfo(root / "proc/meminfo"),
        _left(root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        _left(
            root / "sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def used_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process holds; None: it is unknown.

    Args:
        root: where ``proc`` lies.
    """
    for line in _lines(root / "proc/self/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return None


def _meminfo(path: Path) -> int | None:
    for line in _lines(path):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _left(folder: Path, limit: str, used: str, reclaimable: str) -> int | None:
    """What a container may still take: its limit less what it uses, file cache that can be dropped left out."""
    numbers = [next(iter(_lines(folder / name)), "") for name in (limit, used)]
    if not all(number.isdigit() for number in numbers):  # "max": no limit
        return None
    cached = (line.split()[1] for line in _lines(folder / "memory.stat") if line.startswith(f"{reclaimable} "))
    return max(0, int(numbers[0]) - int(numbers[1]) + int(next(cached, "0")))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []

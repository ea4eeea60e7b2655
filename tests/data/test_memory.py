"""Free memory by the system's and the container's files."""

from __future__ import annotations

from pathlib import Path

from ghostyolo.data.memory import free_memory, used_memory


def put(root: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_smaller_of_system_and_container_counts(tmp_path):
    put(tmp_path, proc__meminfo="MemTotal: 9000 kB\nMemAvailable: 4000 kB\n")
    assert free_memory(tmp_path) == 4000 * 1024
    put(tmp_path, sys__fs__cgroup__memory_dot_max="max\n", sys__fs__cgroup__memory_dot_current="5000\n")
    assert free_memory(tmp_path) == 4000 * 1024
    put(tmp_path, sys__fs__cgroup__memory_dot_max="9000\n")
    assert free_memory(tmp_path) == 4000
    # Files that the kernel keeps may be dropped.
    put(tmp_path, sys__fs__cgroup__memory_dot_stat="anon 3000\ninactive_file 2000\n")
    assert free_memory(tmp_path) == 6000


def test_the_older_control_groups_are_read_too(tmp_path):
    group = tmp_path / "sys/fs/cgroup/memory"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("1000\n")
    (group / "memory.usage_in_bytes").write_text("1500\n")
    assert free_memory(tmp_path) == 0


def test_a_system_that_does_not_say_is_unknown(tmp_path):
    assert free_memory(tmp_path) is None


def test_what_this_process_holds_is_what_the_system_says(tmp_path):
    put(tmp_path, proc__self__status="Name:\tpython\nVmRSS:\t 2048 kB\n")
    assert used_memory(tmp_path) == 2048 * 1024
    assert used_memory(tmp_path / "elsewhere") is None

"""Keep memory that the process freed, instead of giving it back and asking for it again at every layer.

glibc returns large blocks to the system as soon as they are freed. A training step on the CPU frees and allocates the
same activations again and again, and the kernel has to map and clear each page anew: 89,000 page faults a step and a
third of its time with yolov13n-ghostnetv3 at 320 px, batch 16; 1,300 with memory kept. ``benchmarks/allocator.py``
counts them.
"""

from __future__ import annotations

import ctypes
import platform

# Parameter numbers of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1
_GROW_BY = 64 * 2**20


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks for this process; other allocators and systems are left as they are.

    Returns:
        Whether all settings took effect.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _GROW_BY))
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])

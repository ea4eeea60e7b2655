"""What a layout of data sets is, and which there are.

A layout is one file of this folder that declares its ``LAYOUT``; docs/add-a-layout.md shows one whole. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ghostyolo.data.faults import FaultList
from ghostyolo.data.formats.folder import Folder
from ghostyolo.data.formats.raw import RawData
from ghostyolo.extras import declared

Find = Callable[[Folder], Sequence[Path]]
Read = Callable[[Folder, Sequence[Path], Sequence[str] | None, FaultList], RawData]


@dataclass(frozen=True)
class Layout:
    """A way to lay out pictures and labels.

    Attributes:
        name: as before a path that asks for it: ``voc:my-data``.
        title: as messages call it.
        signs: the files that it is known by, for the message where there are none.
        find: returns those files in a folder; empty: the folder has another layout.
        read: parses them; ``splits`` are those wanted, None for all. What is wrong goes into the faults.
        rank: where several layouts say the same of a folder, the highest is read.
    """

    name: str
    title: str
    signs: str
    find: Find
    read: Read
    rank: int = 0


@cache
def layouts() -> tuple[Layout, ...]:
    """Return all layouts."""
    return tuple(declared("ghostyolo.data.formats", "LAYOUT"))

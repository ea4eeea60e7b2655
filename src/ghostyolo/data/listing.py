"""Lists the pictures of a folder, and counts what is passed over.

It counts by reason. No torch.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# What a Mac's archiver, a NAS and Windows put beside the files that a user sees.
_SYSTEM_FOLDERS = frozenset(("__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found"))
# Files that belong beside pictures: nobody expects them to be taken for one.
_COMPANIONS = frozenset(
    (".txt", ".xml", ".json", ".jsonl", ".csv", ".yaml", ".yml", ".names", ".data", ".labels", ".cfg")
)
_COMPANIONS |= {".md", ".html", ".cache", ".py", ".log"}
_SYSTEM_FILES = frozenset((".ds_store", "thumbs.db", "desktop.ini"))


@dataclass(frozen=True)
class Listing:
    """Files of a folder, and what was passed over.

    Attributes:
        files: in name order, folder by folder.
        passed: how many files were left out, by reason: "hidden", "in subfolders", or an ending such as ".zip".
    """

    files: list[Path]
    passed: Counter[str] = field(default_factory=Counter)


def list_files(folder: Path, suffixes: Collection[str], *, deep: bool) -> Listing:
    """List the files with certain endings.

    Args:
        folder: where to look.
        suffixes: endings in small letters, such as ``.jpg``; capital ones are taken too.
        deep: whether to enter subfolders; else what lies in them is passed over.
    """
    listing = Listing([])
    for parent, names, hidden in walk(folder):
        for name in names:
            suffix = suffix_of(name)
            if suffix in suffixes:
                if hidden or is_hidden(name):
                    listing.passed["hidden"] += 1
                elif deep or parent == folder:
                    listing.files.append(parent / name)
                else:
                    listing.passed["in subfolders"] += 1
            elif (deep or parent == folder) and not (hidden or is_hidden(name) or is_companion(suffix)):
                listing.passed[suffix or "without an ending"] += 1
    return listing


def is_hidden(name: str) -> bool:
    """Whether a system or a tool put a file there, not the user."""
    return name.startswith(".") or name.casefold() in _SYSTEM_FOLDERS or name.casefold() in _SYSTEM_FILES


def is_companion(suffix: str) -> bool:
    """Whether files with this ending belong beside pictures."""
    return suffix in _COMPANIONS


def suffix_of(name: str) -> str:
    """Return the ending of a name in small letters, such as ``.jpg``."""
    return os.path.splitext(name)[1].lower()


def describe_passed(passed: Counter[str]) -> str:
    """Return ``"2 hidden, 1 .zip"``, the most frequent reason first."""
    return ", ".join(f"{count} {reason}" for reason, count in passed.most_common())


def walk(folder: Path) -> Iterator[tuple[Path, list[str], bool]]:
    """Yield every folder below one, its files, and whether it is hidden.

    Links are followed to folders outside, each once.
    """
    inside = Path(os.path.realpath(folder))
    entered = {inside}
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for name in tuple(folders):
            path = os.path.join(parent, name)
            if os.path.islink(path):
                target = Path(os.path.realpath(path))
                if target in entered or target.is_relative_to(inside) or inside.is_relative_to(target):
                    folders.remove(name)  # listed already, or a circle
                entered.add(target)
        place = Path(parent)
        yield place, sorted(files), any(is_hidden(part) for part in place.relative_to(folder).parts)

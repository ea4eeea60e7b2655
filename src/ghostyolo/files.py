"""Writes files so that a reader never sees half of one.

They are written beside the target, then renamed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ghostyolo.errors import OutputError


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the target's folder.

    On success it replaces the target, on failure it is removed.

    The suffix is kept, since image and ONNX writers choose the format by it. The folder is made when missing.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    target = Path(target)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}-", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private to the user; results should have the mode any other file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; free some space or choose another "
                          "place") from error  # fmt: skip
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def staged(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder.

    The folder lies beside the target; on success the path replaces the target.

    For folders, and for writers that leave more than one file or go by the name. What else they leave is removed.

    Raises:
        OutputError: the place cannot be written, or the disk is full.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name[:40]}-", dir=target.parent) as room:
            path = Path(room) / target.name
            yield path
            move_into_place(path, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; free some space or choose another "
                          "place") from error  # fmt: skip


def move_into_place(path: Path, target: Path) -> None:
    """Rename to a place whose old content goes only when the new is complete."""
    if path.is_file() and not target.is_dir():
        os.replace(path, target)
        return
    if target.exists():
        with tempfile.TemporaryDirectory(prefix=f".{target.name[:40]}-old-", dir=target.parent) as room:
            os.replace(target, Path(room) / target.name)
            os.replace(path, target)
    else:
        os.replace(path, target)


def slug(name: str) -> str:
    """Return a name as it can stand for a folder."""
    return re.sub(r"[^\w.=+-]+", "-", name).strip("-.") or "-"


def free_stem(stem: str, is_taken: Callable[[str], bool]) -> str:
    """Return the first of ``stem``, ``stem-2``, ``stem-3`` ... that is not taken.

    Args:
        is_taken: of a file name without its suffix; some file systems do not tell the cases apart.
    """
    number, candidate = 1, stem
    while is_taken(candidate):
        number += 1
        candidate = f"{stem}-{number}"
    return candidate


def free_folder(folder: Path) -> Path:
    """Return a folder that holds nothing yet.

    It is the first of ``folder``, ``folder-2``, ``folder-3`` ... that is not there, or is empty.
    """
    name = free_stem(folder.name, lambda stem: _holds_something(folder.with_name(stem)))
    return folder.with_name(name)


def _holds_something(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def size_in_megabytes(path: Path) -> float:
    """Size of a file, or of all files in a folder, in 10^6 bytes."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def cache_folder() -> Path:
    """The user's folder for what can be made again."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "ghostyolo"


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content in hexadecimal digits, read piece by piece."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically.

    Of a name that is no text, its bytes are escaped (a valid escape in JSON).
    """
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(target: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON atomically."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a file against other processes; yield whether that succeeds.

    The system lets go of it when the process ends, however it ends. The file's content stays as it is. Where the file
    system knows no locks, it counts as held.
    """
    with open(path, "rb") as file:
        yield _lock(file.fileno())


def _lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: a byte far behind the end stands for the file
        import msvcrt

        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def make_output_folder(folder: str | os.PathLike[str]) -> Path:
    """Make a folder for results and prove that it can be written.

    Raises:
        OutputError: it cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}; choose another --out") from error
    return folder
